//! How fast the disk syncs: what a commit at FULL waits for, whatever is committed.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// How often is synced: half a second on a fast disk.
const SYNCS: u32 = 2_000;

/// Appends of 4 KiB, each followed by fdatasync, a second, in `folder`.
///
/// # Errors
///
/// Those of the file system.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
pub fn syncs_per_second(folder: &Path) -> io::Result<f64> {
    let path = folder.join("syncs");
    let mut file = File::create(&path)?;
    let begun = Instant::now();
    for _ in 0..SYNCS {
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
    }
    let took = begun.elapsed();
    std::fs::remove_file(path)?;
    Ok(f64::from(SYNCS) / took.as_secs_f64())
}
