//! From a field of a résumé to what is printed of it: clean text, short URLs, and links that lead to the web alone.

use super::block::{ACCENT, GREY, Span};

/// A field that says something.
pub(super) fn text(field: &Option<String>) -> Option<String> {
    clean(field.as_deref()?)
}

/// Text on one line or more, without control characters; nothing where nothing is left.
fn clean(text: &str) -> Option<String> {
    let text = text.replace("\r\n", "\n").replace('\t', " ");
    let clean: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// The items of a list that say something.
pub(super) fn texts(fields: &[String]) -> Vec<String> {
    fields.iter().filter_map(|field| clean(field)).collect()
}

/// Where a click on a résumé's URL may lead: the web. Anything else is printed and not linked.
pub(super) fn web(url: &str) -> Option<String> {
    let url = url.trim();
    let plain = url.chars().all(|c| c.is_ascii_graphic());
    if !plain || url.is_empty() {
        return None;
    }
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https") => Some(url.to_owned()),
        None if url.contains('.') => Some(format!("https://{url}")),
        _ => None,
    }
}

/// A URL as people say it.
pub(super) fn shown(url: &str) -> String {
    let bare = url.trim().trim_start_matches("https://").trim_start_matches("http://");
    bare.trim_start_matches("www.").trim_end_matches('/').to_owned()
}

/// A field that holds a URL.
pub(super) fn site(url: &Option<String>) -> Option<Span> {
    text(url).map(|url| linked(&url))
}

/// A URL as a link, where it may be one.
fn linked(url: &str) -> Span {
    let target = web(url);
    let color = if target.is_some() { ACCENT } else { GREY };
    Span::new(shown(url)).color(color).link(target)
}

/// `spans` with a separator between each two.
pub(super) fn joined(spans: Vec<Span>, separator: &str) -> Vec<Span> {
    let mut all = Vec::with_capacity(spans.len() * 2);
    for span in spans {
        if !all.is_empty() {
            all.push(Span::grey(separator));
        }
        all.push(span);
    }
    all
}

/// `text` with spaces that no line ends at (U+00A0).
pub(super) fn unbroken(text: &str) -> String {
    text.replace([' ', '\n'], "\u{a0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_linked_only_to_the_web() {
        assert_eq!(web("https://a.example").as_deref(), Some("https://a.example"));
        assert_eq!(web("a.example/me").as_deref(), Some("https://a.example/me"));
        for url in ["javascript:alert(1)", "file:///etc/passwd", "mailto:a@b", "a b.example", "", "me"] {
            assert_eq!(web(url), None, "{url:?}");
        }
    }

    #[test]
    fn a_url_is_shown_without_what_nobody_says() {
        assert_eq!(shown("https://www.a.example/"), "a.example");
    }

    #[test]
    fn a_field_of_blanks_says_nothing() {
        assert_eq!(text(&Some(" \u{0} \r\n".into())), None);
        assert_eq!(text(&Some("a\r\nb\u{7}".into())).as_deref(), Some("a\nb"));
    }
}
