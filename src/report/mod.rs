//! Views of a verdict, and the one place that writes to the terminal. Colour goes to terminals alone, and `NO_COLOR`
//! turns it off.

pub(crate) mod excerpt;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod progress;
mod style;
mod tell;
pub(crate) mod terminal;

use std::io::{self, Write};

use serde::Serialize;

/// Prints text, coloured or not as standard output likes it. A reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) {
    write_to(anstream::stdout().lock(), text);
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("what is printed has string keys alone");
    print(&format!("{text}\n"));
}

/// Says something beside what is printed, for people: standard output stays what it is.
pub(crate) fn say_beside(text: &str) {
    write_to(anstream::stderr().lock(), text);
}

/// Says an error on standard error.
pub(crate) fn say(error: &str) {
    let bad = style::BAD;
    write_to(anstream::stderr().lock(), &format!("{bad}error{bad:#}: {error}\n"));
}

fn write_to(mut output: impl Write, text: &str) {
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // Neither output nor error can be told to anyone; the exit code still says what was found.
        let _ = writeln!(io::stderr(), "error: failed to print: {error}");
    }
}
