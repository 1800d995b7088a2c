//! Dates of a résumé: a year, a month or a day, as precise as the person was, printed in the résumé's language.

use std::str::FromStr;

use serde::Deserialize;

use super::words::Words;

/// `2024`, `2024-05` or `2024-05-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Date {
    year: u16,
    month: Option<u8>,
    day: Option<u8>,
}

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).ok_or_else(|| format!("{text:?} is no date, such as 2024, 2024-05 or 2024-05-31"))
    }
}

fn parse(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map(|m| number(m, 2).filter(|m| (1..=12).contains(m)));
    let day = parts.next().map(|d| number(d, 2).filter(|d| (1..=31).contains(d)));
    if parts.next().is_some() || month == Some(None) || day == Some(None) {
        return None;
    }
    Some(Date { year, month: month.flatten(), day: day.flatten() })
}

fn number<T: FromStr>(digits: &str, len: usize) -> Option<T> {
    let plain = digits.len() == len && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

impl Date {
    /// This date as people write it. The day is left out: on a résumé it only makes noise.
    pub(super) fn print(self, words: &Words) -> String {
        match self.month {
            None => self.year.to_string(),
            // U+00A0: a date is never broken over two lines.
            Some(month) => format!("{}\u{a0}{}", words.months[usize::from(month) - 1], self.year),
        }
    }
}

/// From a start to an end; an open end is the present.
pub(super) fn span(start: Option<Date>, end: Option<Date>, words: &Words) -> Option<String> {
    match (start.map(|d| d.print(words)), end.map(|d| d.print(words))) {
        (Some(start), Some(end)) if start == end => Some(start),
        (Some(start), Some(end)) => Some(format!("{start} – {end}")),
        (Some(start), None) => Some(format!("{start} – {}", words.present)),
        (None, end) => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdf::words;

    #[test]
    fn a_date_is_as_precise_as_it_was_written() {
        let print = |text| parse(text).unwrap().print(words::of("en"));
        assert_eq!(print("2024"), "2024");
        assert_eq!(print("2024-05"), "May\u{a0}2024");
        assert_eq!(print("2024-05-31"), "May\u{a0}2024");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["", "24", "2024-13", "2024-00", "2024-5", "2024-05-32", "May 2024", "2024-05-31T"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_open_end_is_the_present() {
        let words = words::of("en");
        assert_eq!(span(parse("2019"), None, words).unwrap(), "2019 – Present");
        assert_eq!(span(parse("2019"), parse("2019"), words).unwrap(), "2019");
        assert_eq!(span(None, parse("2020"), words).unwrap(), "2020");
    }
}
