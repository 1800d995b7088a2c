//! Files that are either there and whole, or not there: written beside their place, synced, then renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kew_runtime::processor::Failure;

/// Writes `<dir>/<stem>.<ext>` and answers its path. A file of that name is replaced: it came from the same job.
///
/// What this returns survives a power loss: the job's completion must not outlive its file.
pub(crate) fn write(dir: &Path, stem: &str, ext: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
    let name = plain(stem)?;
    let path = dir.join(format!("{name}.{ext}"));
    let written = write_whole(&path, &dir.join(format!(".{name}.{ext}.part")), bytes);
    written.map_err(|e| Failure::new(format!("could not write {}: {e}", path.display())))?;
    Ok(path)
}

fn write_whole(path: &Path, part: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(part, path)?;
    let dir = path.parent().expect("a file of `write` is in a folder");
    File::open(dir)?.sync_all()
}

/// `id` if it can stand in a file name and in a mail header as it is.
pub(crate) fn plain(id: &str) -> Result<&str, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain = !id.is_empty() && id.len() <= 100 && id.chars().all(fits) && !id.starts_with('.');
    plain.then_some(id).ok_or_else(|| Failure::new(format!("the job id {id:?} is no file name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_its_folder_is_refused() {
        for id in ["../a", "a/b", "", ".hidden", "a\r\nb"] {
            assert!(plain(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_file_is_replaced_and_leaves_no_part_behind() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "one", "txt", b"first").unwrap();
        let path = write(dir.path(), "one", "txt", b"second").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
