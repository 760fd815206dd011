//! `andon backup`: everything a box keeps, in one file.
//!
//! Asks the running box over its API, which makes a snapshot and sends it. With `--data` it works on the data
//! folder of a box that is not running; if one is, that folder is in use and the box is asked after all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Method, StatusCode};

use super::said::bytes;
use crate::clock::Clock;
use crate::config;
use crate::model::{HttpClient, Timestamp};
use crate::outbound::Outbound;
use crate::storage::backup::{self, About, Source};
use crate::storage::disk::{self, Disk, DiskFile, Lock, OsDisk, TEMPORARY_SUFFIX};

/// A backup over a slow line may take this long.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Most of what a box says when it refuses.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Arguments of `andon backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where to: a file, a folder (the file is named andon-BOX-TIME.tar in it), or - for standard output
    #[arg(value_name = "FILE")]
    out: PathBuf,
    /// Where the running box is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:26366")]
    url: String,
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
            runtime.block_on(from_box(&args.url, out))
        }
    };
    if args.out.as_os_str() == "-" {
        let mut out = io::stdout().lock();
        write(&mut out)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = file_name(&args.out, Clock::system().now());
    let disk = OsDisk::shared();
    let mut out = Appender::create(&disk, &path)?;
    let written = write(&mut out).and_then(|()| {
        out.file.sync()?;
        // Read back, so that what is said to be a backup is one.
        Ok(backup::check(&*disk, &out.temporary)?)
    });
    let manifest = match written {
        Ok(manifest) => manifest,
        Err(error) => {
            // What led here is the thing to tell.
            let _ = disk.remove_file(&out.temporary);
            return Err(error);
        }
    };
    disk.rename(&out.temporary, &path)?;
    disk.sync_folder(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let (files, size) = (manifest.members.len(), bytes(out.bytes));
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

async fn from_box(url: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Outbound::new(&HttpClient::plain(), TIMEOUT)?;
    let address = format!("{}/api/v1/backup", url.trim_end_matches('/'));
    let request = client.request(Method::POST, &address)?.header("accept-encoding", "identity");
    let mut response = request.send().await.with_context(|| {
        format!(
            "no box answers at {url}; is it running? --url names another, --data works on the folder of one that is \
             not running"
        )
    })?;
    let status = response.status();
    if status != StatusCode::OK {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await?.filter(|_| body.len() < REFUSAL_BYTES_MAX) {
            body.extend_from_slice(&chunk);
        }
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        bail!("{}", answer["error"].as_str().map_or_else(|| format!("{url} answered {status}"), str::to_owned));
    }
    while let Some(chunk) = response.chunk().await.context("the box broke off")? {
        out.write_all(&chunk).context("cannot write the backup")?;
    }
    Ok(())
}

/// A file in the making, written from its beginning to its end.
struct Appender {
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
}

impl Appender {
    fn create(disk: &Arc<dyn Disk>, path: &Path) -> anyhow::Result<Appender> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        let file = disk.create(&temporary)?;
        Ok(Appender { temporary, file, bytes: 0 })
    }
}

impl Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.bytes, bytes).map_err(io::Error::other)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "saying what was done is what this command ends with")]
fn say(text: &str) {
    println!("{text}");
}
