//! Rendering in a child process, from both its ends: `Renderer` starts one, `child` is what it runs.
//!
//! The payload goes in on standard input and the PDF comes out on standard output. The last line of standard error is
//! the facts as JSON when the exit code is 0, and what was wrong when it is not.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Output, Stdio};

use futures_util::future;
use kew_runtime::processor::Failure;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{ARGUMENT, Config, PAYLOAD_BYTES_MAX, Pdf, render};

/// The environment variable that tells a child the font files of the configuration, joined like a `PATH`.
pub const FONTS_ENV: &str = "KEW_PDF_FONTS";

/// The longest text that is taken from a failed child, in characters.
const ERROR_CHARS_MAX: usize = 1_000;

/// Starts children.
#[derive(Debug)]
pub(super) struct Renderer {
    program: OsString,
    arguments: Vec<String>,
    fonts: OsString,
}

impl Renderer {
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let fonts = std::env::join_paths(&config.fonts).map_err(|e| format!("fonts: {e}"))?;
        if let Some((program, arguments)) = config.command.split_first() {
            return Ok(Self { program: program.into(), arguments: arguments.to_vec(), fonts });
        }
        let this = std::env::current_exe().map_err(|e| format!("this executable's path: {e}"))?;
        Ok(Self { program: this.into(), arguments: vec![ARGUMENT.to_owned()], fonts })
    }

    /// Renders `payload` in a child that does not outlive the future of this call.
    pub(super) async fn render(&self, payload: &[u8]) -> Result<Pdf, Failure> {
        let output = self.run(payload).await;
        let output =
            output.map_err(|e| Failure::new(format!("could not run the renderer {}: {e}", self.program.display())))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(failed(&output, &said));
        }
        let facts = serde_json::from_str(said.lines().last().unwrap_or_default());
        let facts = facts.map_err(|e| Failure::new(format!("the renderer's facts are unreadable: {e}")))?;
        Ok(Pdf { bytes: output.stdout, facts })
    }

    async fn run(&self, payload: &[u8]) -> std::io::Result<Output> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env(FONTS_ENV, &self.fonts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // Ctrl-C in a terminal goes to a whole group: it shall drain the parent, not kill the work
            .kill_on_drop(true) // this is how a delivery's timeout stops the work
            .spawn()?;
        let mut stdin = child.stdin.take().expect("the child was given a pipe");
        let write = async move {
            // A child that fails early closes its end; what it says is worth more than the broken pipe.
            let _ = stdin.write_all(payload).await;
        };
        let ((), output) = future::join(write, child.wait_with_output()).await;
        output
    }
}

/// What a child said that made no PDF. Its last line counts: libraries may have written above it.
fn failed(output: &Output, said: &str) -> Failure {
    let last = said.trim().lines().last().unwrap_or_default();
    let last: String = last.chars().take(ERROR_CHARS_MAX).collect();
    if output.status.code() == Some(1) && !last.is_empty() {
        return Failure::new(last);
    }
    // A signal or a panic: nothing that the user did.
    Failure::new(format!("the renderer died ({}) {last}", output.status).trim_end())
}

/// What the hidden command `render-pdf` runs: the exit code is the whole answer to the shell.
pub fn child() -> ExitCode {
    ExitCode::from(render_stdin_to_stdout())
}

/// Renders standard input to standard output. 0 when it did, 1 when the input is at fault, 2 when reading or writing
/// failed.
pub fn render_stdin_to_stdout() -> u8 {
    let fonts: Vec<PathBuf> = std::env::var_os(FONTS_ENV)
        .map(|paths| std::env::split_paths(&paths).filter(|p| !p.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    match read().map(|payload| render(&payload, &fonts)) {
        Ok(Ok(pdf)) => write(&pdf).map_or_else(|e| fail(2, &e), |()| 0),
        Ok(Err(failure)) => fail(1, &failure),
        Err(e) => fail(2, &e),
    }
}

fn fail(code: u8, why: &dyn std::fmt::Display) -> u8 {
    let line = why.to_string().replace(['\n', '\r'], " ");
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
    code
}

/// Reads the payload. The parent has its own, stated limit; this one only keeps the memory bounded.
fn read() -> std::io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    let bound = 64 * PAYLOAD_BYTES_MAX as u64; // far above any limit that an operator would set
    std::io::stdin().lock().take(bound).read_to_end(&mut payload)?;
    Ok(payload)
}

fn write(pdf: &Pdf) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&pdf.bytes)?;
    stdout.flush()?;
    let facts = serde_json::to_string(&pdf.facts)?;
    writeln!(std::io::stderr(), "{facts}")
}
