//! The PDF handler: what is on the pages, what the file says of itself, and that a timeout ends the work.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::PathBuf;

use common::{delivery, handle_one, job};
use kew_handlers::pdf::{Config, Pdf, Pdfs, render};
use kew_runtime::processor::{Handler, Report};
use lopdf::Document;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const ONE_PAGE: &[u8] = include_bytes!("../examples/one-page.json");
const THREE_PAGES: &[u8] = include_bytes!("../examples/three-pages.json");

fn rendered(json: &[u8]) -> Pdf {
    render(json, &[]).unwrap()
}

fn text(pdf: &Pdf, page: u32) -> String {
    Document::load_mem(&pdf.bytes).unwrap().extract_text(&[page]).unwrap()
}

/// The child as a program of its own.
fn child() -> Vec<String> {
    vec![env!("CARGO_BIN_EXE_kew-render-pdf").to_owned()]
}

fn pdfs(command: Vec<String>, dir: &tempfile::TempDir) -> Pdfs {
    Pdfs::new(&Config { command, ..Config::default() }, dir.path()).unwrap()
}

#[test]
fn the_same_resume_makes_the_same_bytes() {
    assert_eq!(rendered(THREE_PAGES).bytes, rendered(THREE_PAGES).bytes);
}

#[test]
fn the_examples_fill_as_many_pages_as_they_are_named_for() {
    assert_eq!(rendered(ONE_PAGE).facts.pages, 1);
    assert_eq!(rendered(THREE_PAGES).facts.pages, 3);
}

#[test]
fn the_examples_are_accessible_and_miss_no_character() {
    for json in [ONE_PAGE, THREE_PAGES] {
        let facts = rendered(json).facts;
        assert!(facts.pdf_ua && facts.missing.is_empty(), "{facts:?}");
    }
}

#[test]
fn every_section_is_on_a_page() {
    let pdf = rendered(THREE_PAGES);
    let text: String = (1..=3).map(|page| text(&pdf, page)).collect();
    for part in [
        "Agnieszka Wiśniewska",
        "PROFILE",
        "EXPERIENCE",
        "PROJECTS",
        "EDUCATION",
        "SKILLS",
        "CERTIFICATES",
        "AWARDS",
        "PUBLICATIONS",
        "VOLUNTEERING",
        "LANGUAGES",
        "INTERESTS",
        "REFERENCES",
        "3 / 3",
        "Lyngen",
        "summa cum laude",
        "Framveien 9",
        "crevasse rescue",
    ] {
        let flat = |text: &str| text.split_whitespace().collect::<String>();
        assert!(flat(&text).contains(&flat(part)), "{part} is not in {text}");
    }
}

#[test]
fn the_file_says_whose_resume_it_is_and_in_which_language() {
    let pdf = rendered(THREE_PAGES);
    let document = Document::load_mem(&pdf.bytes).unwrap();
    let info = document.trailer.get(b"Info").unwrap().as_reference().unwrap();
    let title = document.get_dictionary(info).unwrap().get(b"Title").unwrap();
    let title = lopdf::decode_text_string(title).unwrap();
    assert_eq!(title, "Prof. Dr. Agnieszka Wiśniewska-Ødegård – Résumé");
    let language = lopdf::decode_text_string(document.catalog().unwrap().get(b"Lang").unwrap());
    assert_eq!(language.unwrap(), "en-GB");
    assert!(document.catalog().unwrap().has(b"StructTreeRoot"));
    assert!(document.catalog().unwrap().has(b"Outlines"));
}

#[test]
fn links_can_be_clicked() {
    let pdf = rendered(ONE_PAGE);
    let document = Document::load_mem(&pdf.bytes).unwrap();
    let page = *document.get_pages().values().next().unwrap();
    let links = document.get_page_annotations(page).unwrap();
    let uri = |link: &&lopdf::Dictionary| {
        let action = link.get_deref(b"A", &document).unwrap().as_dict().unwrap();
        String::from_utf8(action.get(b"URI").unwrap().as_str().unwrap().to_vec()).unwrap()
    };
    let targets: Vec<String> = links.iter().map(uri).collect();
    for target in ["mailto:mira@okonkwo.example", "tel:+46701740635", "https://fjordbank.example"] {
        assert!(targets.iter().any(|t| t == target), "{target} is not in {targets:?}");
    }
}

#[test]
fn a_link_leads_to_the_web_or_nowhere() {
    let json = json!({"basics": {"name": "A", "url": "javascript:alert(1)"}});
    let pdf = rendered(json.to_string().as_bytes());
    let document = Document::load_mem(&pdf.bytes).unwrap();
    let page = *document.get_pages().values().next().unwrap();
    assert!(document.get_page_annotations(page).unwrap_or_default().is_empty());
}

#[test]
fn a_language_brings_its_headings_and_months() {
    let json = json!({"language": "de", "resume": {"work": [{"name": "A", "startDate": "2020-03"}]}});
    let text = text(&rendered(json.to_string().as_bytes()), 1);
    assert!(text.contains("BERUFSERFAHRUNG") && text.contains("März") && text.contains("heute"), "{text}");
}

#[test]
fn a_long_resume_takes_many_pages_and_loses_no_line() {
    let bullets: Vec<String> = (0..400).map(|n| format!("achievement{n}end")).collect();
    let json = json!({"basics": {"name": "A"}, "work": [{"name": "B", "highlights": bullets}]});
    let pdf = rendered(json.to_string().as_bytes());
    assert!(pdf.facts.pages > 5);
    let pages = u32::try_from(pdf.facts.pages).unwrap();
    let text: String = (1..=pages).map(|page| text(&pdf, page)).collect();
    assert!(bullets.iter().all(|bullet| text.contains(bullet)));
}

#[test]
fn a_word_wider_than_the_page_is_broken() {
    let json = json!({"basics": {"name": "A", "summary": "x".repeat(5_000)}});
    assert!(rendered(json.to_string().as_bytes()).facts.pages >= 1);
}

#[test]
fn a_character_without_a_font_is_told_and_not_fatal() {
    let facts = rendered(json!({"basics": {"name": "A 字"}}).to_string().as_bytes()).facts;
    assert_eq!((facts.missing.as_str(), facts.pdf_ua), ("字", false));
}

#[test]
fn an_empty_resume_is_refused() {
    assert!(render(b"{}", &[]).unwrap_err().0.contains("empty"));
}

#[test]
fn a_font_file_that_is_none_is_named() {
    let failure = render(ONE_PAGE, &[PathBuf::from(file!()).join("none.ttf")]).unwrap_err();
    assert!(failure.0.contains("none.ttf"), "{failure}");
}

#[test]
fn a_font_file_is_used_where_noto_sans_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("more.ttf");
    std::fs::write(&path, notosans::REGULAR_TTF).unwrap();
    assert!(render(ONE_PAGE, &[path]).unwrap().facts.pdf_ua);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever people paste into a résumé: any script, joiners, controls, and words without end.
    #[test]
    fn any_text_can_be_set(name in any::<String>(), word in "\\PC{0,80}", lines in "(\\PC|\n| ){0,400}") {
        let work = json!([{"position": word, "name": lines, "url": word, "summary": lines, "highlights": [lines, word]}]);
        let skills = json!([{"name": lines, "level": word, "keywords": [word, name]}]);
        let basics = json!({"name": name, "email": word, "phone": word, "summary": lines, "label": word});
        let json = json!({"basics": basics, "work": work, "skills": skills}).to_string();
        match render(json.as_bytes(), &[]) {
            Ok(pdf) => prop_assert!(pdf.facts.pages > 0),
            Err(failure) => prop_assert!(failure.0.contains("empty"), "{}", failure),
        }
    }
}

#[tokio::test]
async fn a_job_becomes_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let payload: Value = serde_json::from_slice(ONE_PAGE).unwrap();
    let job = job("j-1", &payload);
    let done = handle_one(&pdfs(child(), &dir), "pdf_generation", job).await.unwrap();
    let path = dir.path().join("pdf/j-1.pdf");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(done["path"], path.to_str().unwrap());
    assert_eq!(done["pages"], 1);
    assert_eq!(done["bytes"], bytes.len());
    assert_eq!(done["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(bytes, rendered(payload.to_string().as_bytes()).bytes);
}

#[tokio::test]
async fn a_wrong_field_is_named_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let job = job("j-1", &json!({"resume": {"skills": [{"keywords": "Rust"}]}}));
    let failure = handle_one(&pdfs(child(), &dir), "pdf_generation", job).await.unwrap_err();
    assert!(failure.contains("resume.skills[0].keywords"), "{failure}");
    assert_eq!(std::fs::read_dir(dir.path().join("pdf")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let job = job("j-1", &json!({"basics": {"summary": "x".repeat(300 << 10)}}));
    let failure = handle_one(&pdfs(child(), &dir), "pdf_generation", job).await.unwrap_err();
    assert!(failure.contains("at most 262144"), "{failure}");
}

#[tokio::test]
async fn a_renderer_that_dies_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let command = ["sh", "-c", "kill -9 $$"].map(str::to_owned).to_vec();
    let job = job("j-1", &json!({"basics": {"name": "A"}}));
    let failure = handle_one(&pdfs(command, &dir), "pdf_generation", job).await.unwrap_err();
    assert!(failure.contains("the renderer died"), "{failure}");
}

#[test]
fn a_font_that_cannot_be_used_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let no_font = dir.path().join("text.ttf");
    std::fs::write(&no_font, "no font").unwrap();
    for (font, words) in [(dir.path().join("absent.ttf"), "No such file"), (no_font, "is no font")] {
        let config = Config { fonts: vec![font.clone()], ..Config::default() };
        let error = Pdfs::new(&config, dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("set up [handlers.pdf]: the font "), "{error}");
        assert!(error.contains(font.to_str().unwrap()) && error.contains(words), "{error}");
    }
}

/// A terminal's Ctrl-C goes to every process of the group in front.
#[tokio::test]
async fn the_child_is_in_a_process_group_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let script = "read -r stat < /proc/$$/stat; echo \"$stat\" >&2; exit 1";
    let command = ["bash", "-c", script].map(str::to_owned).to_vec();
    let job = job("j-1", &json!({"basics": {"name": "A"}}));
    let said = handle_one(&pdfs(command, &dir), "pdf_generation", job).await.unwrap_err();
    // The process, its name in parentheses, its state, its parent, its group.
    let fields: Vec<&str> = said.split(' ').collect();
    assert_eq!(fields[0], fields[4], "{said}");
}

/// The child holds a connection to the test as long as it lives; the end of the one is the end of the other.
#[tokio::test]
async fn dropping_the_future_kills_the_child() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; exec sleep 600");
    let dir = tempfile::tempdir().unwrap();
    let pdfs = pdfs(vec!["bash".into(), "-c".into(), script], &dir);
    let delivery = delivery("pdf_generation", vec![job("j-1", &json!({"basics": {"name": "A"}}))]);
    let report = Report::default();
    let mut work = pdfs.handle(&delivery, &report);
    let mut life = tokio::select! {
        _ = &mut work => panic!("the child ended by itself"),
        accepted = listener.accept() => accepted.unwrap().0,
    };
    drop(work);
    assert_eq!(life.read(&mut [0]).await.unwrap(), 0);
    assert!(report.take().is_empty());
}
