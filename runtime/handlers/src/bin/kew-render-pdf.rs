//! Renders a JSON résumé on its own: what the PDF handler has a child process do, without the rest of Kew.
//!
//! cargo run -p kew-handlers < runtime/handlers/examples/one-page.json > one-page.pdf

use std::process::ExitCode;

fn main() -> ExitCode {
    kew_handlers::pdf::child()
}
