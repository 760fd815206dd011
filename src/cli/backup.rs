//! `andon backup`: everything a box keeps, in one file.
//!
//! Asks the running box over its API, which makes a snapshot and sends it. With `--data` it works on the data
//! folder of a box that is not running; if one is, that folder is in use and the box is asked after all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Method;

use super::ask::{OR_DATA, Place, stream};
use super::draft::Draft;
use super::said::bytes;
use crate::clock::Clock;
use crate::config;
use crate::model::Timestamp;
use crate::storage::backup::{self, About, Source};
use crate::storage::disk::{self, Lock, OsDisk};

/// Arguments of `andon backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where to: a file, a folder (the file is named andon-BOX-TIME.tar in it), or - for standard output
    #[arg(value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Data folder of a box that is not running
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// With --data: its configuration file, to go into the backup with the rule files it names; without it
    /// /etc/andon/andon.yml if that is there
    #[arg(long, value_name = "FILE", requires = "data")]
    config: Option<PathBuf>,
}

/// Makes a backup and says what is in it.
pub(super) fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let folder = match &args.data {
        Some(folder) => own(folder)?.map(|lock| (folder, lock)),
        None => None,
    };
    let config = args.config.as_deref();
    let write = |out: &mut dyn Write| match &folder {
        Some((folder, _lock)) => from_folder(folder, config, out),
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(stream(Method::POST, &args.place.address("/api/v1/backup"), &[], OR_DATA, out))
        }
    };
    if args.out.as_os_str() == "-" {
        let mut out = io::stdout().lock();
        write(&mut out)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = file_name(&args.out, Clock::system().now());
    let mut out = Draft::create(&path)?;
    write(&mut out)?;
    // Read back, so that what is said to be a backup is one.
    let (manifest, size) = out.finish(|draft| Ok(backup::check(&OsDisk, draft)?))?;
    let (files, size) = (manifest.members.len(), bytes(size));
    say(&format!("{}: {files} files of {}, {size}, checked", path.display(), manifest.box_name));
    Ok(ExitCode::SUCCESS)
}

/// Returns the file to write: in a folder, one that is named after the machine and the time.
fn file_name(out: &Path, now: Timestamp) -> PathBuf {
    if !out.is_dir() {
        return out.to_owned();
    }
    let when = now.to_rfc3339();
    let when = when.get(..19).unwrap_or(&when).replace(':', "-");
    let machine = rustix::system::uname();
    out.join(format!("andon-{}-{when}.tar", machine.nodename().to_str().unwrap_or("box")))
}

/// Takes a data folder that nobody uses; nothing if a running box owns it.
fn own(folder: &Path) -> anyhow::Result<Option<Lock>> {
    if !folder.is_dir() {
        bail!("there is no data folder at {}", folder.display());
    }
    match disk::lock(&OsDisk, folder) {
        Ok(lock) => Ok(Some(lock)),
        Err(disk::Error::InUse { .. }) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot use the data folder {}", folder.display())),
    }
}

fn from_folder(folder: &Path, config: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut sources = backup::sources(&OsDisk, folder)?;
    if sources.is_empty() {
        bail!("{} holds nothing of a box", folder.display());
    }
    let source = config::Source { file: config.map(Path::to_owned), ..config::Source::default() };
    let box_name = match config::load(&source) {
        Ok(config) => {
            sources.extend(config.files.iter().map(|path| Source::of_settings(path)));
            config.box_name
        }
        Err(error) if config.is_some() => return Err(error.into()),
        Err(_) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    backup::write_archive(&OsDisk, &sources, &About { box_name, made_at: Clock::system().now() }, out)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "saying what was done is what this command ends with")]
fn say(text: &str) {
    println!("{text}");
}
