//! A résumé as its payload says it: the schema of jsonresume.org (v1.0.0), field by field.
//!
//! Unknown fields and wrong types are refused with their JSON path: a misspelt field that vanished from the page
//! would be found by the person who reads the résumé, and too late.

use kew_runtime::processor::Failure;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::date::Date;
use crate::payload;

/// What a payload asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) resume: Resume,
    /// A language tag (BCP 47).
    pub(super) language: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    resume: Resume,
    language: Option<String>,
}

/// Reads a payload: a résumé in an envelope, or a bare one.
pub(super) fn parse(json: &[u8]) -> Result<Asked, Failure> {
    #[derive(Deserialize)]
    struct Peek {
        resume: Option<IgnoredAny>,
        language: Option<IgnoredAny>,
    }
    let peek: Peek = payload::from_json(json, usize::MAX)?;
    if peek.resume.is_none() && peek.language.is_none() {
        let resume = payload::from_json(json, usize::MAX)?;
        return Ok(Asked { resume, language: "en".into() });
    }
    let Envelope { resume, language } = payload::from_json(json, usize::MAX)?;
    let language = language.unwrap_or_else(|| "en".into());
    let tag = language.len() <= 35 && language.split('-').all(is_subtag);
    if !tag {
        let text = format!("the payload is wrong at language: {language:?} is no language tag");
        return Err(Failure::new(text));
    }
    Ok(Asked { resume, language })
}

fn is_subtag(part: &str) -> bool {
    (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident $(as $key:literal)?: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
        pub(super) struct $name {
            $($(#[serde(rename = $key)])? pub(super) $field: $type,)*
        }
    };
}

type Text = Option<String>;
type Texts = Vec<String>;

section! {
    /// The whole document. `meta` is about the file and is not printed.
    Resume {
        schema as "$schema": Option<IgnoredAny>,
        basics: Basics,
        work: Vec<Work>,
        volunteer: Vec<Volunteer>,
        education: Vec<Education>,
        awards: Vec<Award>,
        certificates: Vec<Certificate>,
        publications: Vec<Publication>,
        skills: Vec<Skill>,
        languages: Vec<Language>,
        interests: Vec<Interest>,
        references: Vec<Reference>,
        projects: Vec<Project>,
        meta: Option<IgnoredAny>,
    }
}

section! {
    /// Who it is about. A picture (`image`) is read and not printed: it would have to be fetched.
    Basics {
        name: Text, label: Text, image: Text, email: Text, phone: Text, url: Text, summary: Text,
        location: Location, profiles: Vec<Profile>,
    }
}

section! {
    Location { address: Text, postal_code: Text, city: Text, country_code: Text, region: Text }
}

section! {
    Profile { network: Text, username: Text, url: Text }
}

section! {
    Work {
        name: Text, location: Text, description: Text, position: Text, url: Text,
        start_date: Option<Date>, end_date: Option<Date>, summary: Text, highlights: Texts,
    }
}

section! {
    Volunteer {
        organization: Text, position: Text, url: Text,
        start_date: Option<Date>, end_date: Option<Date>, summary: Text, highlights: Texts,
    }
}

section! {
    Education {
        institution: Text, url: Text, area: Text, study_type: Text,
        start_date: Option<Date>, end_date: Option<Date>, score: Text, courses: Texts,
    }
}

section! {
    Award { title: Text, date: Option<Date>, awarder: Text, summary: Text }
}

section! {
    Certificate { name: Text, date: Option<Date>, url: Text, issuer: Text }
}

section! {
    Publication {
        name: Text, publisher: Text, release_date: Option<Date>, url: Text, summary: Text,
    }
}

section! {
    Skill { name: Text, level: Text, keywords: Texts }
}

section! {
    Language { language: Text, fluency: Text }
}

section! {
    Interest { name: Text, keywords: Texts }
}

section! {
    Reference { name: Text, reference: Text }
}

section! {
    Project {
        name: Text, description: Text, highlights: Texts, keywords: Texts,
        start_date: Option<Date>, end_date: Option<Date>, url: Text, roles: Texts,
        entity: Text, kind as "type": Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(json: &str) -> String {
        parse(json.as_bytes()).unwrap_err().0
    }

    #[test]
    fn a_bare_document_and_an_enveloped_one_are_both_read() {
        assert_eq!(parse(b"{\"basics\":{\"name\":\"A\"}}").unwrap().language, "en");
        let asked = parse(b"{\"resume\":{\"basics\":{\"name\":\"A\"}},\"language\":\"de-AT\"}").unwrap();
        assert_eq!((asked.language.as_str(), asked.resume.basics.name.unwrap().as_str()), ("de-AT", "A"));
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_by_its_path() {
        let text = failure("{\"resume\":{\"work\":[{},{\"highlights\":[\"a\",3]}]}}");
        assert!(text.contains("resume.work[1].highlights[1]"), "{text}");
    }

    #[test]
    fn an_unknown_field_is_named_by_its_path() {
        let text = failure("{\"work\":[{\"company\":\"A\"}]}");
        assert!(text.contains("work[0].company") && text.contains("unknown field"), "{text}");
    }

    #[test]
    fn a_wrong_date_is_named_by_its_path() {
        let text = failure("{\"work\":[{\"startDate\":\"May 2020\"}]}");
        assert!(text.contains("work[0].startDate") && text.contains("2024-05"), "{text}");
    }

    #[test]
    fn what_is_no_language_tag_is_refused() {
        assert!(failure("{\"resume\":{},\"language\":\"en/US\"}").contains("language"));
    }
}
