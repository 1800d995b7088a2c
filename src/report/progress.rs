//! Progress bars: on standard error, and only on terminals.

use std::io::Read;

use indicatif::{ProgressBar, ProgressStyle};

/// Files below this are read before anyone could see a bar.
const BYTES_MIN: u64 = 16 << 20;

/// A bar that fills with the bytes read from `input`.
pub(crate) fn reading<R: Read>(input: R, bytes: u64) -> impl Read {
    let bar = if bytes < BYTES_MIN { ProgressBar::hidden() } else { ProgressBar::new(bytes) };
    bar.set_style(style("  {bar:28} {bytes}/{total_bytes}  {eta} left"));
    bar.wrap_read(input)
}

/// A bar that fills with seeds.
pub(crate) fn seeds(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    bar.set_style(style("  {bar:28} {pos}/{len}  {elapsed}  {msg}"));
    bar
}

/// A bar that fills with plays against a real system.
pub(crate) fn plays(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    bar.set_style(style("  {bar:28} {pos}/{len}  {elapsed}  {msg}"));
    bar
}

/// A bar that fills with the seconds that shrinking may take.
pub(crate) fn trials(seconds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seconds);
    bar.set_style(style("  shrinking {bar:28} {elapsed}, at most {len} s"));
    bar
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    style.progress_chars("██░")
}
