//! A JSON Résumé becomes a typeset PDF: A4, tagged and checked against PDF/UA-1, the same bytes for the same input.
//!
//! Rendering is a busy loop that no dropped future can stop, so the handler has a child process do it, and dropping
//! the handler's future kills the child (`child`). The way of a résumé: `resume` (what the payload says) → `compose`
//! (blocks of styled text) → `typeset` (lines) → `paginate` (pages) → `draw` (PDF).

use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use kew_runtime::processor::{Delivery, Failure, Handler, Job, Outcome, Report};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, file, payload};

mod block;
mod child;
mod compose;
mod date;
mod draw;
mod fields;
mod glyphs;
mod paginate;
mod resume;
mod structure;
mod typeset;
mod words;

pub use child::{FONTS_ENV, child, render_stdin_to_stdout};

/// The section `[handlers.pdf]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The command that renders: a résumé on its standard input, the PDF on its standard output. By default this
    /// executable with the argument `render-pdf`.
    pub command: Vec<String>,
    /// Font files that are used, in this order, for characters that Noto Sans does not have.
    pub fonts: Vec<PathBuf>,
    /// The longest payload, in bytes.
    pub payload_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { command: vec![], fonts: vec![], payload_bytes_max: PAYLOAD_BYTES_MAX }
    }
}

/// 256 KiB of text is about eighty pages: no résumé, and a second of work.
const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// The argument that the `kew` binary answers with `child`.
const ARGUMENT: &str = "render-pdf";

/// A rendered résumé.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdf {
    /// The file.
    pub bytes: Vec<u8>,
    /// What there is to say about it.
    pub facts: Facts,
}

/// What a renderer says beside the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How many pages it has.
    pub pages: usize,
    /// Whether it is PDF/UA-1, as far as a program can check: readable to a screen reader.
    pub pdf_ua: bool,
    /// The characters that no font could draw. A file with any is not PDF/UA.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub missing: String,
}

/// Renders a payload: `{"resume": …, "language": "en"}`, or the bare résumé. `fonts` come after Noto Sans.
pub fn render(payload: &[u8], fonts: &[PathBuf]) -> Result<Pdf, Failure> {
    let asked = resume::parse(payload)?;
    let blocks = compose::compose(&asked.resume, &asked.language);
    if blocks.is_empty() {
        return Err(Failure::new("the résumé is empty: it has neither a name nor a section"));
    }
    let mut typesetter = typeset::Typesetter::new(fonts)?;
    let set = typesetter.set_all(blocks);
    let pages = paginate::paginate(&set.iter().map(typeset::SetBlock::extent).collect::<Vec<_>>());
    draw::draw(&asked, &set, &pages, &mut typesetter)
}

/// The handler of `pdf_generation`.
#[derive(Debug)]
pub struct Pdfs {
    renderer: child::Renderer,
    payload_bytes_max: usize,
    dir: PathBuf,
}

#[derive(Serialize)]
struct Made {
    path: PathBuf,
    bytes: usize,
    sha256: String,
    #[serde(flatten)]
    facts: Facts,
}

impl Pdfs {
    /// Files go to the folder `pdf` in `data`.
    pub fn new(config: &Config, data: &Path) -> Result<Self, Error> {
        let dir = data.join("pdf");
        let wrong = |e: &dyn std::fmt::Display| Error::new("[handlers.pdf]", e);
        std::fs::create_dir_all(&dir).map_err(|e| wrong(&format!("{}: {e}", dir.display())))?;
        let renderer = child::Renderer::new(config).map_err(|e| wrong(&e))?;
        // Each child reads the fonts anew; one that is not there or is no font shall stop the start, not every job.
        typeset::Typesetter::new(&config.fonts).map_err(|e| wrong(&e))?;
        Ok(Self { renderer, payload_bytes_max: config.payload_bytes_max, dir })
    }

    async fn make(&self, job: &Job) -> Outcome {
        let payload = job.payload.get().as_bytes();
        if payload.len() > self.payload_bytes_max {
            let (is, max) = (payload.len(), self.payload_bytes_max);
            let text = format!("the payload is {is} bytes long, and at most {max} are allowed");
            return Err(Failure::new(text));
        }
        let Pdf { bytes, facts } = self.renderer.render(payload).await?;
        let path = file::write(&self.dir, &job.id, "pdf", &bytes)?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(payload::result(&Made { path, bytes: bytes.len(), sha256, facts }))
    }
}

impl Handler for Pdfs {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            for job in &delivery.jobs {
                report.job(&job.id, self.make(job).await);
            }
            Ok(())
        })
    }
}
