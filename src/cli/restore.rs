//! `andon restore`: a backup back into a data folder.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::said::bytes;
use crate::clock::Clock;
use crate::storage::backup::{self, RestoreOptions, Restored};
use crate::storage::disk::OsDisk;

/// Arguments of `andon restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup, as andon backup wrote it
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// Data folder to restore into, usually /var/lib/andon; no box may be running there
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    data: Option<PathBuf>,
    /// Move what is in the folder aside, and restore also if this version cannot read all of the backup
    #[arg(long, requires = "data")]
    force: bool,
    /// Only read the backup from end to end and compare every checksum
    #[arg(long, conflicts_with = "data")]
    check: bool,
}

/// Restores, or checks, and says what is there now.
pub(super) fn run(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let disk = OsDisk::shared();
    let Some(data) = &args.data else {
        let manifest = backup::check(&*disk, &args.archive)?;
        let (files, size) = (manifest.members.len(), bytes(manifest.bytes()));
        let backup::Manifest { box_name, made, program, .. } = &manifest;
        say(&format!("good: {files} files of {box_name}, {size}, made {made} by Andon {program}"));
        return Ok(ExitCode::SUCCESS);
    };
    let options = RestoreOptions { is_forced: args.force, now: Clock::system().now() };
    let restored = backup::restore(&disk, &args.archive, data, options)?;
    say(&told(&restored, data));
    Ok(ExitCode::SUCCESS)
}

fn told(restored: &Restored, data: &std::path::Path) -> String {
    let manifest = &restored.manifest;
    let (files, size) = (manifest.members.len(), bytes(manifest.bytes()));
    let mut lines =
        vec![format!("{}: {files} files of {}, {size}, as of {}", data.display(), manifest.box_name, manifest.made)];
    lines.extend(restored.unreadable.iter().map(|what| format!("cannot be read by this version: {what}")));
    if let Some(place) = &restored.moved_aside {
        lines.push(format!("What was there before is in {}; remove it when all is well.", place.display()));
    }
    if let Some(place) = &restored.settings {
        lines.push(format!(
            "Settings and rules of the backup are in {}; compare them and copy by hand.",
            place.display()
        ));
    }
    lines.push("Start the box: systemctl start andon".to_owned());
    lines.join("\n")
}

#[expect(clippy::print_stdout, reason = "saying what was done is what this command ends with")]
fn say(text: &str) {
    println!("{text}");
}
