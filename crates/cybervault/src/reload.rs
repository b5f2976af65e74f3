//! Takes up changed tenants, rules, playbooks and indicators: on SIGHUP, and when their files change.

use std::{
    path::{self, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};

use crate::live::{Live, Part};

/// Changes come in bursts, and a file is often written in several steps: it is read once nothing has changed for so long.
const QUIET: Duration = Duration::from_millis(400);
/// … but not later than this after the first change.
const LATEST: Duration = Duration::from_secs(5);

/// Wakes the reloader. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reload {
    wakes: SyncSender<()>,
    asked: Arc<AtomicBool>,
}

impl Reload {
    /// Starts to watch the files behind `live`, until `stop` is true.
    pub(crate) fn start(live: Arc<Live>, stop: Arc<AtomicBool>) -> anyhow::Result<Self> {
        // One wake that waits is enough: everything that has changed is read then.
        let (sender, receiver) = sync_channel(1);
        let reload = Self { wakes: sender, asked: Arc::default() };
        let (watcher, asked) = (watch(&live, reload.clone()), reload.asked.clone());
        thread::Builder::new().name("reload".to_owned()).spawn(move || {
            // Dropping it would end the watch.
            let _watcher = watcher;
            follow(&live, &receiver, &asked, &stop);
        })?;
        Ok(reload)
    }

    /// Has everything read again, changed or not.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Has everything that has changed read again.
    fn wake(&self) {
        // Full: it is about to wake up anyway.
        let _ = self.wakes.try_send(());
    }
}

/// Watches the sources that are on disk. Where this can't be done, SIGHUP still works.
fn watch(live: &Live, reload: Reload) -> Option<RecommendedWatcher> {
    let sources = live.sources();
    let all = [&sources.tenants, &sources.rules, &sources.playbooks].into_iter().chain(&sources.pipelines);
    let feeds = sources.feeds.iter().map(|feed| &*feed.path);
    let paths: Vec<_> = all.filter_map(|source| source.path()).chain(feeds).map(Path::to_owned).collect();
    let seen: Vec<_> = paths.iter().filter_map(|path| path::absolute(path).ok()).collect();
    let on_event = move |event: notify::Result<Event>| {
        if event.as_ref().map_or(true, |event| is_change(event, &seen)) {
            reload.wake();
        }
    };
    let mut watcher = notify::recommended_watcher(on_event)
        .inspect_err(|error| tracing::warn!(%error, "file changes are not seen; send SIGHUP after one"))
        .ok()?;
    for path in paths {
        // A file is replaced rather than written: what is seen of that is in its folder.
        let (folder, mode) = if path.is_dir() {
            (&*path, RecursiveMode::Recursive)
        } else {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            (parent.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)
        };
        if let Err(error) = watcher.watch(folder, mode) {
            tracing::warn!(path = %path.display(), %error, "changes are not seen; send SIGHUP after one");
        }
    }
    Some(watcher)
}

/// Whether something may have become of what is at `paths`. Reading a file is an event as well; and what is written into
/// another file of the folder, the gateway's store for one, matters only once that takes the place of a watched one.
fn is_change(event: &Event, paths: &[PathBuf]) -> bool {
    let is_ours = |changed: &PathBuf| {
        paths.iter().any(|path| changed.starts_with(path) || changed.file_name() == path.file_name())
    };
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_)) => event.paths.iter().any(is_ours),
        _ => true,
    }
}

fn follow(live: &Live, wakes: &Receiver<()>, asked: &AtomicBool, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match wakes.recv_timeout(Duration::from_millis(200)) {
            Ok(()) => {
                let first = Instant::now();
                while first.elapsed() < LATEST && wakes.recv_timeout(QUIET).is_ok() {}
                let anyway = asked.swap(false, Ordering::Relaxed);
                Part::ALL.into_iter().for_each(|part| live.reload(part, anyway));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RenameMode};

    use super::*;

    #[test]
    fn what_is_written_into_another_file_is_no_change() {
        let paths = ["/etc/cv/tenants.yaml", "/etc/cv/rules"].map(PathBuf::from);
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (kind, path, expected) in [
            (written, "/etc/cv/tenants.yaml", true),
            (written, "/etc/cv/rules/deep/a.yml", true),
            (written, "/etc/cv/gateway.db-wal", false),
            // As a mounted ConfigMap changes.
            (renamed, "/etc/cv/..data", true),
            (EventKind::Create(CreateKind::File), "/etc/cv/other", true),
            (EventKind::Access(notify::event::AccessKind::Any), "/etc/cv/tenants.yaml", false),
        ] {
            assert_eq!(is_change(&Event::new(kind).add_path(path.into()), &paths), expected, "{kind:?} {path}");
        }
    }
}
