//! Where clauses come from: the architecture that Kew began from, line by line, as `docs/` holds it.

use kew_spec::clause::Source;

/// The architecture, as it stood when the clauses were written.
const TEXT: &str = include_str!("../docs/background-processing-architecture.md");

/// Where a clause comes from, in words: `line 15, "Retry: 3 attempts"`, or `chosen`.
pub(crate) fn origin(source: Source) -> String {
    match source {
        Source::Line(number) => format!("line {number}, \"{}\"", line(number)),
        Source::Chosen => "chosen".into(),
    }
}

/// The words of a line, without the lines that are drawn around them.
pub(crate) fn line(number: u16) -> String {
    let text = TEXT.lines().nth(usize::from(number).saturating_sub(1)).unwrap_or_default();
    let drawn = |c: char| c.is_whitespace() || "│├└─┌┐┘┴▼↘".contains(c);
    let words: Vec<_> = text.split(drawn).filter(|word| !word.is_empty()).collect();
    words.join(" ").replace('►', "→")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kew_spec::clause::CLAUSES;

    #[test]
    fn every_clause_comes_from_a_line_with_words() {
        for clause in CLAUSES {
            if let Source::Line(number) = clause.source {
                assert!(line(number).contains(char::is_alphabetic), "{} names line {number}", clause.id);
            }
        }
    }

    #[test]
    fn a_line_loses_the_drawing_around_it() {
        assert_eq!(line(15), "Retry: 3 attempts");
        assert_eq!(line(49), "Create Job → Cloudflare Queue");
        assert_eq!(line(91), "failed → retry → processing", "the life cycle's arrows are words of it");
    }
}
