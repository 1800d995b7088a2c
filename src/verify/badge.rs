//! `kew verify --badge`: a small picture for a README, in the form that badges have.

use kew_verify::known::Against;
use kew_verify::result::{Cell, Verification};

/// What stands on the left.
const LABEL: &str = "kew";

/// How wide a character of 11 px Verdana is on average. The text is fitted to the width, so a guess does.
const CHARACTER_PX: f64 = 6.4;

/// What is left free at both ends of a text.
const PADDING_PX: usize = 6;

/// The picture's text.
pub(super) fn svg(result: &Verification, against: &Against) -> String {
    let (kept, broken) = (result.count(Cell::Kept), result.count(Cell::Broken));
    let says = format!("{kept} kept · {broken} broken");
    let colour = match (kept, broken) {
        (0, 0) => "#6b7280", // Nothing is said of it.
        (_, 0) => "#15803d",
        _ if against.unexpected.is_empty() && against.expired.is_empty() => "#a16207",
        _ => "#b91c1c",
    };
    let (left, right) = (width(LABEL), width(&says));
    let (whole, right_middle) = (left + right, left + right / 2);
    let (left_text, right_text) = (left - 2 * PADDING_PX, right - 2 * PADDING_PX);
    let left_middle = left / 2;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{LABEL}: {says}">
<title>{LABEL}: {says}</title>
<clipPath id="round"><rect width="{whole}" height="20" rx="3"/></clipPath>
<g clip-path="url(#round)"><rect width="{left}" height="20" fill="#4b5563"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11">
<text x="{left_middle}" y="14" textLength="{left_text}">{LABEL}</text>
<text x="{right_middle}" y="14" textLength="{right_text}">{says}</text>
</g>
</svg>
"##
    )
}

fn width(text: &str) -> usize {
    (text.chars().count() as f64 * CHARACTER_PX).ceil() as usize + 2 * PADDING_PX
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kew_verify::known::Known;

    use super::svg;
    use crate::verify::made_up;

    #[test]
    fn a_badge_says_how_many_are_kept_and_broken() {
        let (result, known) = (made_up::result("made-up"), made_up::known());
        assert_snapshot!(svg(&result, &known.against(&result, made_up::TODAY)));
    }

    #[test]
    fn what_is_broken_and_not_known_to_be_is_red() {
        let result = made_up::result("made-up");
        assert!(svg(&result, &Known::default().against(&result, made_up::TODAY)).contains("#b91c1c"));
        let mut known = made_up::known();
        known.known.clear();
        let all = made_up::broken().map(|clause| kew_verify::known::Failing {
            clause: clause.into(),
            reason: "it is documented".into(),
            link: None,
            promised: false,
            sometimes: false,
            expires: None,
        });
        known.known.extend(all);
        assert!(svg(&result, &known.against(&result, made_up::TODAY)).contains("#a16207"));
    }
}
