//! Puts style, scripts and data into the template, so that the page is one file.

use serde::Serialize;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");

/// One program in several files, in this order; they share one scope.
const SCRIPTS: [&str; 17] = [
    include_str!("script/data.js"),
    include_str!("script/glyphs.js"),
    include_str!("script/lanes.js"),
    include_str!("script/draw.js"),
    include_str!("script/ground.js"),
    include_str!("script/bars.js"),
    include_str!("script/messages.js"),
    include_str!("script/finding.js"),
    include_str!("script/frame.js"),
    include_str!("script/move.js"),
    include_str!("script/follow.js"),
    include_str!("script/point.js"),
    include_str!("script/input.js"),
    include_str!("script/overview.js"),
    include_str!("script/verdict.js"),
    include_str!("script/search.js"),
    include_str!("script/main.js"),
];

/// The page with `data` inside.
pub(super) fn page(title: &str, data: &impl Serialize) -> String {
    let parts = [("{{title}}", text(title)), ("{{style}}", STYLE.into()), ("{{data}}", json(data))];
    let script = ("{{script}}", SCRIPTS.concat());
    let mut page = String::new();
    let mut rest = TEMPLATE;
    // What is put in is not looked through again: it may hold anything, the marks of other parts too.
    for (mark, part) in parts.into_iter().chain([script]) {
        let (before, after) = rest.split_once(mark).expect("the template has every part's mark, in this order");
        page.push_str(before);
        page.push_str(&part);
        rest = after;
    }
    page + rest
}

/// Data that no parser of HTML takes for anything else. In JSON a `<` stands in strings alone, where an escape says
/// the same.
fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("what is shown has string keys alone").replace('<', "\\u003c")
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
