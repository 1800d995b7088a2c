//! From a résumé to blocks: what is said, in which order, and how loud. Empty fields leave no trace.

use super::block::{ACCENT, BODY, Block, GREY, Para, Role, Side, Span};
use super::date::{self, Date};
use super::fields::{joined, shown, site, text, texts, unbroken, web};
use super::resume::{
    Award, Basics, Certificate, Education, Interest, Profile, Project, Publication, Reference, Resume, Skill,
    Volunteer, Work,
};
use super::words::{self, Words};

/// The column that skills and languages have their names in, in points.
const NAMES: f32 = 112.0;
/// The column that a bullet stands in, in points.
const BULLET: f32 = 11.0;

/// The blocks of a résumé, in reading order.
pub(super) fn compose(resume: &Resume, language: &str) -> Vec<Block> {
    let words = words::of(language);
    let mut page = Page { words, blocks: header(&resume.basics) };
    page.profile(resume);
    page.work(resume);
    page.projects(resume);
    page.education(resume);
    page.skills(resume);
    page.certificates(resume);
    page.awards(resume);
    page.publications(resume);
    page.volunteer(resume);
    page.languages(resume);
    page.interests(resume);
    page.references(resume);
    page.blocks
}

fn header(basics: &Basics) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(name) = text(&basics.name) {
        let span = Span::new(name).bold();
        let para = Para { spans: vec![span], size: 24.0, leading: 1.2, tracking: -0.3 };
        blocks.push(Block::new(Role::Title, para, 0.0));
    }
    if let Some(label) = text(&basics.label) {
        let span = Span::new(label).color(ACCENT);
        let para = Para { spans: vec![span], size: 12.0, leading: 1.35, tracking: 0.0 };
        blocks.push(Block::new(Role::Text, para, 1.0));
    }
    let profiles = basics.profiles.iter().filter_map(profile).collect();
    for (spans, before) in [(contacts(basics), 5.0), (profiles, 0.0)] {
        let spans = joined(spans, "   ·   ");
        if !spans.is_empty() {
            let para = Para { size: 8.6, leading: 1.6, ..Para::body(spans) };
            blocks.push(Block::new(Role::Text, para, before));
        }
    }
    blocks
}

fn contacts(basics: &Basics) -> Vec<Span> {
    let mut spans = Vec::new();
    if let Some(email) = text(&basics.email) {
        let plain = email.chars().all(|c| c.is_ascii_graphic() && c != '?' && c != '%');
        let target = plain.then(|| format!("mailto:{email}"));
        spans.push(Span::new(email).color(ACCENT).link(target));
    }
    if let Some(phone) = text(&basics.phone) {
        let digits: String = phone.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
        let target = (!digits.is_empty()).then(|| format!("tel:{digits}"));
        spans.push(Span::new(unbroken(&phone)).color(ACCENT).link(target));
    }
    spans.extend(site(&basics.url));
    spans.extend(place(basics).map(|place| Span::grey(unbroken(&place))));
    spans
}

fn place(basics: &Basics) -> Option<String> {
    let at = &basics.location;
    let town = [text(&at.postal_code), text(&at.city)];
    let town = town.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let town = (!town.is_empty()).then_some(town);
    let country = text(&at.country_code);
    let parts = [text(&at.address), town, text(&at.region), country];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn profile(profile: &Profile) -> Option<Span> {
    let (url, user) = (text(&profile.url), text(&profile.username));
    let network = text(&profile.network);
    let who = user.or_else(|| url.as_deref().map(shown));
    let label = match (network, who) {
        (Some(network), Some(who)) => format!("{network}: {who}"),
        (network, who) => network.or(who)?,
    };
    let target = url.as_deref().and_then(web);
    let color = if target.is_some() { ACCENT } else { GREY };
    Some(Span::new(unbroken(&label)).color(color).link(target))
}

/// One entry of a section, before it has a form.
#[derive(Default)]
struct Entry {
    /// What comes first, in bold: a position, a name.
    head: Option<String>,
    /// What follows it: a company, an issuer.
    tail: Option<String>,
    date: Option<String>,
    /// The line under it: place, site, roles.
    details: Vec<Span>,
    /// Paragraphs, one a line.
    prose: Vec<String>,
    bullets: Vec<String>,
}

/// The blocks so far, and how to add to them.
struct Page {
    words: &'static Words,
    blocks: Vec<Block>,
}

impl Page {
    fn span(&self, start: Option<Date>, end: Option<Date>) -> Option<String> {
        date::span(start, end, self.words)
    }

    fn heading(&mut self, title: &'static str) {
        let span = Span::new(title.to_uppercase()).bold().color(ACCENT);
        // Wider tracking looks better still, but programs that read résumés then take letters for words.
        let para = Para { spans: vec![span], size: 9.2, leading: 1.3, tracking: 0.6 };
        let role = Role::Section(title.to_owned());
        // Below it: the rule, and air between the rule and the first entry.
        self.blocks.push(Block { keep: true, after: 6.5, ..Block::new(role, para, 15.0) });
    }

    /// A section of entries, or nothing where all are empty.
    fn section(&mut self, title: &'static str, entries: Vec<Entry>) {
        let blocks: Vec<Vec<Block>> = entries.into_iter().map(blocks_of).collect();
        let mut before = 0.0;
        for mut entry in blocks.into_iter().filter(|blocks| !blocks.is_empty()) {
            if before == 0.0 {
                self.heading(title);
            }
            entry[0].before = before;
            before = 8.5;
            self.blocks.append(&mut entry);
        }
    }

    /// A section of names and what belongs to each, in two columns.
    fn table(&mut self, title: &'static str, rows: Vec<(Vec<Span>, Vec<Span>)>) {
        let rows = rows.into_iter().filter(|(name, what)| !name.is_empty() || !what.is_empty());
        for (number, (name, what)) in rows.enumerate() {
            if number == 0 {
                self.heading(title);
            }
            let before = if number == 0 { 0.0 } else { 2.0 };
            let (main, side) = match (name.is_empty(), what.is_empty()) {
                (false, false) => (what, Some(Side::Left(Para::body(name), NAMES))),
                (false, true) => (name, None),
                _ => (what, None),
            };
            let block = Block::new(Role::Text, Para::body(main), before);
            self.blocks.push(Block { side, ..block });
        }
    }

    fn profile(&mut self, resume: &Resume) {
        let prose = text(&resume.basics.summary).into_iter().collect();
        self.section(self.words.profile, vec![Entry { prose, ..Entry::default() }]);
    }

    fn work(&mut self, resume: &Resume) {
        let entry = |w: &Work| {
            let (head, tail) = ranked(text(&w.position), text(&w.name));
            let about = text(&w.description).map(|d| Span::grey(d).italic());
            let place = text(&w.location).map(Span::grey);
            let link = site(&w.url);
            Entry {
                head,
                tail,
                date: self.span(w.start_date, w.end_date),
                details: about.into_iter().chain(place).chain(link).collect(),
                prose: text(&w.summary).into_iter().collect(),
                bullets: texts(&w.highlights),
            }
        };
        let entries = resume.work.iter().map(entry).collect();
        self.section(self.words.work, entries);
    }

    fn volunteer(&mut self, resume: &Resume) {
        let entry = |v: &Volunteer| {
            let (head, tail) = ranked(text(&v.position), text(&v.organization));
            Entry {
                head,
                tail,
                date: self.span(v.start_date, v.end_date),
                details: site(&v.url).into_iter().collect(),
                prose: text(&v.summary).into_iter().collect(),
                bullets: texts(&v.highlights),
            }
        };
        let entries = resume.volunteer.iter().map(entry).collect();
        self.section(self.words.volunteer, entries);
    }

    fn projects(&mut self, resume: &Resume) {
        let entry = |p: &Project| {
            let words = [texts(&p.roles), texts(&p.keywords)].map(|list| list.join(", "));
            let words = words.into_iter().filter(|w| !w.is_empty()).map(Span::grey);
            let kind = text(&p.kind).map(Span::grey);
            let link = site(&p.url);
            let (head, tail) = ranked(text(&p.name), text(&p.entity));
            // A project has no "present": without an end it is a date, not a span.
            let date = match (p.start_date, p.end_date) {
                (Some(start), None) => Some(start.print(self.words)),
                (start, end) => self.span(start, end),
            };
            Entry {
                head,
                tail,
                date,
                details: kind.into_iter().chain(words).chain(link).collect(),
                prose: text(&p.description).into_iter().collect(),
                bullets: texts(&p.highlights),
            }
        };
        let entries = resume.projects.iter().map(entry).collect();
        self.section(self.words.projects, entries);
    }

    fn education(&mut self, resume: &Resume) {
        let entry = |e: &Education| {
            let degree = [text(&e.study_type), text(&e.area)];
            let degree: Vec<String> = degree.into_iter().flatten().collect();
            let degree = (!degree.is_empty()).then(|| degree.join(", "));
            let (head, tail) = ranked(degree, text(&e.institution));
            let score = text(&e.score).map(Span::grey);
            let link = site(&e.url);
            let courses = texts(&e.courses).join(" · ");
            Entry {
                head,
                tail,
                date: self.span(e.start_date, e.end_date),
                details: score.into_iter().chain(link).collect(),
                prose: Some(courses).filter(|c| !c.is_empty()).into_iter().collect(),
                bullets: vec![],
            }
        };
        let entries = resume.education.iter().map(entry).collect();
        self.section(self.words.education, entries);
    }

    fn certificates(&mut self, resume: &Resume) {
        let entry = |c: &Certificate| {
            let (head, tail) = ranked(text(&c.name), text(&c.issuer));
            let details = site(&c.url).into_iter().collect();
            let date = c.date.map(|d| d.print(self.words));
            Entry { head, tail, date, details, ..Entry::default() }
        };
        let entries = resume.certificates.iter().map(entry).collect();
        self.section(self.words.certificates, entries);
    }

    fn awards(&mut self, resume: &Resume) {
        let entry = |a: &Award| {
            let (head, tail) = ranked(text(&a.title), text(&a.awarder));
            let prose = text(&a.summary).into_iter().collect();
            let date = a.date.map(|d| d.print(self.words));
            Entry { head, tail, date, prose, ..Entry::default() }
        };
        let entries = resume.awards.iter().map(entry).collect();
        self.section(self.words.awards, entries);
    }

    fn publications(&mut self, resume: &Resume) {
        let entry = |p: &Publication| {
            // Titles are long: the publisher stands below, not beside.
            let publisher = text(&p.publisher).map(Span::grey);
            Entry {
                head: text(&p.name),
                date: p.release_date.map(|d| d.print(self.words)),
                details: publisher.into_iter().chain(site(&p.url)).collect(),
                prose: text(&p.summary).into_iter().collect(),
                ..Entry::default()
            }
        };
        let entries = resume.publications.iter().map(entry).collect();
        self.section(self.words.publications, entries);
    }

    fn skills(&mut self, resume: &Resume) {
        let row = |s: &Skill| {
            let level = text(&s.level).map(Span::grey);
            let keywords = texts(&s.keywords).join(", ");
            let keywords = Some(keywords).filter(|k| !k.is_empty()).map(Span::new);
            let what = joined(keywords.into_iter().chain(level).collect(), "  ·  ");
            (name(&s.name), what)
        };
        let rows = resume.skills.iter().map(row).collect();
        self.table(self.words.skills, rows);
    }

    /// Languages are few and short: one line takes them all.
    fn languages(&mut self, resume: &Resume) {
        let mut spans = Vec::new();
        for language in &resume.languages {
            let fluency = text(&language.fluency).map(|f| Span::grey(unbroken(&f)));
            let spoken = name(&language.language).into_iter().chain(fluency).collect();
            let spoken = joined(spoken, "\u{a0} ");
            if !spans.is_empty() && !spoken.is_empty() {
                spans.push(Span::grey("   ·   "));
            }
            spans.extend(spoken);
        }
        if !spans.is_empty() {
            self.heading(self.words.languages);
            self.blocks.push(Block::new(Role::Text, Para::body(spans), 0.0));
        }
    }

    fn interests(&mut self, resume: &Resume) {
        let row = |i: &Interest| {
            let keywords = texts(&i.keywords).join(", ");
            let what = Some(keywords).filter(|k| !k.is_empty()).map(Span::new);
            (name(&i.name), what.into_iter().collect())
        };
        let rows = resume.interests.iter().map(row).collect();
        self.table(self.words.interests, rows);
    }

    fn references(&mut self, resume: &Resume) {
        let entry = |r: &Reference| Entry {
            head: text(&r.name),
            prose: text(&r.reference).into_iter().collect(),
            ..Entry::default()
        };
        let entries = resume.references.iter().map(entry).collect();
        self.section(self.words.references, entries);
    }
}

fn name(field: &Option<String>) -> Vec<Span> {
    text(field).map(|name| Span::new(name).bold()).into_iter().collect()
}

/// The first that is there leads.
fn ranked(first: Option<String>, second: Option<String>) -> (Option<String>, Option<String>) {
    match first {
        Some(first) => (Some(first), second),
        None => (second, None),
    }
}

fn blocks_of(entry: Entry) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut title: Vec<Span> = entry.head.map(|head| Span::new(head).bold()).into_iter().collect();
    if let Some(tail) = entry.tail {
        title.extend([Span::grey("  ·  "), Span::new(tail)]);
    }
    let date = entry.date.map(|date| Para { size: 8.6, ..Para::body(vec![Span::grey(date)]) });
    if !title.is_empty() {
        let block = Block::new(Role::Entry, Para { size: BODY + 0.5, ..Para::body(title) }, 0.0);
        blocks.push(Block { side: date.map(Side::Right), keep: true, ..block });
    } else if let Some(date) = date {
        blocks.push(Block { keep: true, ..Block::new(Role::Text, date, 0.0) });
    }
    if !entry.details.is_empty() {
        let para = Para { size: 8.6, ..Para::body(joined(entry.details, "  ·  ")) };
        blocks.push(Block { keep: true, ..Block::new(Role::Text, para, 0.5) });
    }
    let paragraphs = entry.prose.iter().flat_map(|prose| prose.lines());
    for prose in paragraphs.map(str::trim).filter(|prose| !prose.is_empty()) {
        let para = Para::body(vec![Span::new(prose)]);
        blocks.push(Block::new(Role::Text, para, 2.5));
    }
    for bullet in entry.bullets {
        let block = Block::new(Role::Item, Para::body(vec![Span::new(bullet)]), 2.0);
        let dot = Para::body(vec![Span::new("•").color(ACCENT)]);
        blocks.push(Block { side: Some(Side::Left(dot, BULLET)), ..block });
    }
    // Nothing of this entry follows its last block, so that one must hold nothing.
    if let Some(last) = blocks.last_mut() {
        last.keep = false;
    }
    blocks
}
