//! Keeps the keys of JSON web tokens up to date: reads their files again when they change.
//!
//! A key that is gone is refused at once, and sessions that it let in end. A file that is wrong keeps the keys that it
//! had, is told in the log and shown by `andon_gateway_jwt_keys_stale`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info};

use super::Config;
use super::instruments::Instruments;
use super::jwt::Source;
use crate::task::{Phase, Tasks};
use crate::watched::{self, Watched};

/// Looks after the files with keys until the intake ends.
pub(super) async fn keep(config: Arc<watch::Sender<Arc<Config>>>, instruments: Arc<Instruments>, tasks: Tasks) {
    let end = tasks.token(Phase::Intake);
    let mut settings = config.subscribe();
    let mut watched = Watched::of(&files(&sources(&config)));
    loop {
        let is_due = tokio::select! {
            () = end.cancelled() => return,
            // Somebody has just read the files, perhaps before the last change.
            Ok(()) = settings.changed() => true,
            () = tokio::time::sleep(watched::INTERVAL) => watched.look(&files(&sources(&config))),
        };
        if is_due {
            settings.mark_unchanged();
            watched = Watched::of(&files(&sources(&config)));
            read_again(&config, &instruments, &tasks).await;
        }
    }
}

/// Reads the files again and hands the keys round, if they are others.
async fn read_again(config: &watch::Sender<Arc<Config>>, instruments: &Instruments, tasks: &Tasks) {
    let before = sources(config);
    if files(&before).is_empty() {
        return instruments.stale_keys.remove(&[]);
    }
    let mut now = before.clone();
    let read = tasks.pool().run(move || {
        let wrong: Vec<String> = now.iter_mut().filter_map(|source| source.read_again().err()).collect();
        (now, wrong)
    });
    let Ok((now, wrong)) = read.await else { return };
    instruments.stale_keys.with(&[]).set(if wrong.is_empty() { 0.0 } else { 1.0 });
    for error in wrong {
        error!(%error, "the keys of JSON web tokens stay as they were");
    }
    let is_new = config.send_if_modified(|config| {
        // Not if the settings name other places meanwhile.
        let Some(jwt) = config.jwt.as_ref().filter(|jwt| jwt.sources == before && now != before) else { return false };
        let jwt = Some(super::jwt::Config { sources: now, ..jwt.clone() });
        *config = Arc::new(Config { jwt, ..(**config).clone() });
        true
    });
    if is_new {
        info!("the keys of JSON web tokens have changed");
    }
}

fn sources(config: &watch::Sender<Arc<Config>>) -> Vec<Source> {
    config.borrow().jwt.as_ref().map(|jwt| jwt.sources.clone()).unwrap_or_default()
}

fn files(sources: &[Source]) -> Vec<PathBuf> {
    sources.iter().filter_map(|source| source.file().map(Path::to_owned)).collect()
}
