//! The page as a file: whole, alone, and the same every time.

use kew_spec::check::Checker;
use kew_spec::history::Reader;
use serde_json::Value;

use super::*;

/// Two leases of one job at once, a fault, and a payload that would end the page's data if it were put in as it is.
const HISTORY: &str = r#"{"kew_history":1,"system":"my queue 1.0","player":"by hand"}
{"at":0,"processor":{"processor":"p-1","up":true,"slots":1}}
{"at":0,"processor":{"processor":"p-2","up":true,"slots":1}}
{"at":0,"enqueue":{"op":1,"user":"ada","queue":"pdf_generation","payload":"p1"}}
{"at":5,"accepted":{"job":"</script>","queue":"pdf_generation","user":"ada","payload":"p1","how":"created","clock":1005}}
{"at":9,"reply":{"op":1,"outcome":"ok","job":"</script>"}}
{"at":20,"granted":{"delivery":"d1","queue":"pdf_generation","processor":"p-1","jobs":[{"job":"</script>","attempt":1}],"lease_until":31020,"clock":1020}}
{"at":25,"started":{"processor":"p-1","delivery":"d1","queue":"pdf_generation","jobs":[{"job":"</script>","attempt":1,"payload":"p1"}]}}
{"at":30,"fault":{"fault":1,"kind":"kill","on":["p-1"],"active":true}}
{"at":30,"processor":{"processor":"p-1","up":false}}
{"at":40,"granted":{"delivery":"d2","queue":"pdf_generation","processor":"p-2","jobs":[{"job":"</script>","attempt":2}],"lease_until":31040,"clock":1040}}
{"at":45,"started":{"processor":"p-2","delivery":"d2","queue":"pdf_generation","jobs":[{"job":"</script>","attempt":2,"payload":"p1"}]}}
{"at":90,"finished":{"processor":"p-2","delivery":"d2","jobs":[{"job":"</script>","attempt":2,"outcome":"completed"}]}}
{"at":95,"settled":{"job":"</script>","attempt":2,"outcome":"completed","accepted":true,"then":"completed","clock":1095}}
{"at":99,"fault":{"fault":1,"kind":"kill","on":["p-1"],"active":false}}
"#;

fn judged() -> (Header, Vec<(u64, Event)>, Verdict) {
    let reader = Reader::new(HISTORY.as_bytes()).expect("the history has a header");
    let header = reader.header().clone();
    let events: Vec<_> = reader.map(|read| read.expect("the history is well formed")).collect();
    let mut checker = Checker::new(&header);
    events.iter().for_each(|(line, event)| checker.see(*line, event));
    (header, events, checker.finish())
}

fn made() -> String {
    let (header, events, verdict) = judged();
    let coverage = [("a kill".to_owned(), 1), ("a partition".to_owned(), 0)];
    page(&Page {
        title: "two <leases> & a kill",
        subtitle: "by hand",
        replay: None,
        header: &header,
        events: &events,
        left_out: 0,
        verdict: &verdict,
        opening: None,
        across: None,
        not_offered: None,
        coverage: Some(&coverage),
    })
}

fn data(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="data">"#).expect("there is data");
    let (json, _) = rest.split_once("</script>").expect("it ends");
    serde_json::from_str(json).expect("it is JSON")
}

fn clause<'a>(data: &'a Value, id: &str) -> &'a Value {
    let families = data["families"].as_array().expect("families").iter();
    let mut clauses = families.flat_map(|family| family["clauses"].as_array().expect("clauses"));
    clauses.find(|clause| clause["id"] == id).expect("every clause is in the table")
}

#[test]
fn the_page_is_the_same_every_time() {
    assert_eq!(made(), made());
}

#[test]
fn the_page_loads_nothing() {
    let page = made();
    for word in ["src=", "@import", "url(", "fetch(", "XMLHttpRequest", "import(", "WebSocket("] {
        assert!(!page.contains(word), "{word} would load something");
    }
    let links: Vec<_> = page.match_indices("href=").map(|(at, _)| &page[at..at + 12]).collect();
    assert!(links.iter().all(|link| link.contains("\"#") || link.contains("\"data:")), "{links:?}");
    let addresses = page.matches("http://").count() + page.matches("https://").count();
    assert_eq!(addresses, 0, "there is no address in it");
    assert!(page.contains("default-src 'none'"), "and the browser is told to hold it to that");
}

#[test]
fn nothing_in_a_history_ends_the_data() {
    let page = made();
    assert_eq!(page.matches("</script>").count(), 2, "the data and the program end once each");
    let data = data(&page);
    assert_eq!(data["timeline"]["jobs"][0]["id"], "</script>");
    assert!(page.contains("<title>two &lt;leases&gt; &amp; a kill"));
}

#[test]
fn every_mark_of_the_template_is_filled() {
    assert!(!made().contains("{{"));
}

#[test]
fn a_broken_clause_comes_with_its_text_and_lines_that_are_on_the_page() {
    let data = data(&made());
    let broken = clause(&data, "retry/one-owner");
    assert_eq!(broken["state"], "broken");
    assert!(broken["text"].as_str().is_some_and(|text| text.contains("live lease")));
    let lines = broken["findings"][0]["lines"].as_array().expect("lines");
    let events = data["timeline"]["events"].as_array().expect("events");
    for line in lines {
        assert!(events.iter().any(|event| event[0] == *line), "line {line} is on the page");
    }
    assert_eq!(data["coverage"], serde_json::json!([["a kill", 1], ["a partition", 0]]));
}

#[test]
fn every_clause_of_the_catalogue_is_in_the_table() {
    let data = data(&made());
    for known in kew_spec::clause::CLAUSES {
        assert_eq!(clause(&data, known.id)["text"], known.text);
    }
}

#[test]
fn a_clause_that_another_run_broke_comes_with_its_excerpt_and_replay() {
    let (header, events, verdict) = judged();
    let mut all = verdict.clone();
    all.add(&verdict);
    let entry = all.clauses.iter_mut().find(|entry| entry.clause == "batch/size").expect("it is in the catalogue");
    (entry.state, entry.broken) = (kew_spec::verdict::State::Broken, 3);
    let excerpt = Excerpt { says: "a batch of 101".into(), lines: Vec::new(), broke_at: None };
    let shown = ["batch/size", "retry/one-owner"].map(|clause| Elsewhere {
        clause,
        run: "seed 7".into(),
        replay: "kew sim --seed 7".into(),
        excerpt: &excerpt,
    });
    let page = page(&Page {
        title: "",
        subtitle: "",
        replay: None,
        header: &header,
        events: &events,
        left_out: 0,
        verdict: &verdict,
        opening: None,
        across: Some(Across { runs: 2, verdict: &all, shown: shown.into() }),
        not_offered: None,
        coverage: None,
    });
    let data = data(&page);
    let elsewhere = clause(&data, "batch/size");
    assert_eq!((&elsewhere["state"], &elsewhere["broken"]), (&"broken".into(), &3.into()), "counts are of all runs");
    assert_eq!(elsewhere["elsewhere"]["replay"], "kew sim --seed 7");
    let here = clause(&data, "retry/one-owner");
    assert_eq!(here["elsewhere"], Value::Null, "what this run shows needs no other");
    assert_eq!(here["findings"].as_array().map(Vec::len), Some(1));
}
