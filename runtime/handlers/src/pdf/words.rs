//! The few words that the page adds to a résumé, by language. A language without a table here gets the English
//! words; the document still says which language its own text is in.

/// Headings, months and the like, in one language.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) resume: &'static str,
    pub(super) present: &'static str,
    pub(super) months: [&'static str; 12],
    pub(super) profile: &'static str,
    pub(super) work: &'static str,
    pub(super) projects: &'static str,
    pub(super) education: &'static str,
    pub(super) skills: &'static str,
    pub(super) languages: &'static str,
    pub(super) certificates: &'static str,
    pub(super) awards: &'static str,
    pub(super) publications: &'static str,
    pub(super) volunteer: &'static str,
    pub(super) interests: &'static str,
    pub(super) references: &'static str,
}

const ENGLISH: Words = Words {
    resume: "Résumé",
    present: "Present",
    months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    profile: "Profile",
    work: "Experience",
    projects: "Projects",
    education: "Education",
    skills: "Skills",
    languages: "Languages",
    certificates: "Certificates",
    awards: "Awards",
    publications: "Publications",
    volunteer: "Volunteering",
    interests: "Interests",
    references: "References",
};

const GERMAN: Words = Words {
    resume: "Lebenslauf",
    present: "heute",
    months: ["Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."],
    profile: "Profil",
    work: "Berufserfahrung",
    projects: "Projekte",
    education: "Ausbildung",
    skills: "Kenntnisse",
    languages: "Sprachen",
    certificates: "Zertifikate",
    awards: "Auszeichnungen",
    publications: "Veröffentlichungen",
    volunteer: "Ehrenamt",
    interests: "Interessen",
    references: "Referenzen",
};

const FRENCH: Words = Words {
    resume: "Curriculum vitæ",
    present: "aujourd’hui",
    months: ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
    profile: "Profil",
    work: "Expérience",
    projects: "Projets",
    education: "Formation",
    skills: "Compétences",
    languages: "Langues",
    certificates: "Certifications",
    awards: "Distinctions",
    publications: "Publications",
    volunteer: "Bénévolat",
    interests: "Centres d’intérêt",
    references: "Références",
};

const SPANISH: Words = Words {
    resume: "Currículum vítae",
    present: "actualidad",
    months: ["ene.", "feb.", "mar.", "abr.", "may.", "jun.", "jul.", "ago.", "sept.", "oct.", "nov.", "dic."],
    profile: "Perfil",
    work: "Experiencia",
    projects: "Proyectos",
    education: "Formación",
    skills: "Competencias",
    languages: "Idiomas",
    certificates: "Certificados",
    awards: "Premios",
    publications: "Publicaciones",
    volunteer: "Voluntariado",
    interests: "Intereses",
    references: "Referencias",
};

/// The words of a language tag such as `en` or `de-AT`.
pub(super) fn of(language: &str) -> &'static Words {
    let primary = language.split('-').next().unwrap_or_default().to_ascii_lowercase();
    match primary.as_str() {
        "de" => &GERMAN,
        "fr" => &FRENCH,
        "es" => &SPANISH,
        _ => &ENGLISH,
    }
}
