//! Tells the program which source and which compiler made it: a capsule says so of itself.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rustc-env=KEW_REVISION={}", said("git", &["rev-parse", "--short=12", "HEAD"]));
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!("cargo:rustc-env=KEW_TOOLCHAIN={}", said(&compiler, &["--version"]));
    println!("cargo:rerun-if-changed=build.rs");
    // What is not there would count as changed at every build.
    for file in [".git/HEAD", ".git/logs/HEAD"].into_iter().filter(|file| Path::new(file).exists()) {
        println!("cargo:rerun-if-changed={file}");
    }
}

/// What a program prints on one line; nothing where it is missing or fails, as git outside of a checkout.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
