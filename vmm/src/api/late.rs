//! Changes that a device had begun when nobody could wait for it any longer.
//!
//! Whoever asked was told so, and that it will be done. When it is, the configuration follows; if it fails after all, it stays as it was.

use std::fmt;
use std::sync::mpsc::{Receiver, TryRecvError};

use hull_vm_api::{Draft, Request};

/// All such changes.
#[derive(Debug, Default)]
pub(crate) struct Late(Vec<Change>);

struct Change {
    request: Request,
    /// Whether it was done; closed without a word if it was withdrawn.
    done: Receiver<bool>,
}

impl Late {
    /// `request` may still be done, and then `done` tells.
    pub(super) fn push(&mut self, request: Request, done: Receiver<bool>) {
        self.0.push(Change { request, done });
    }

    /// Lets the configuration have what was done meanwhile.
    pub(super) fn settle(&mut self, config: &mut Draft) {
        self.0.retain(|change| match change.done.try_recv() {
            Ok(true) => {
                match config.changed_by(&change.request) {
                    Ok(changed) => *config = changed,
                    Err(error) => tracing::warn!("a device was changed late: {error}"),
                }
                false
            }
            Ok(false) | Err(TryRecvError::Disconnected) => false,
            Err(TryRecvError::Empty) => true,
        });
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use hull_vm_api::config::{BalloonUpdate, Drive, DriveUpdate, HostPath};

    use super::*;

    fn update(path: &str) -> Request {
        Request::PatchDrive(DriveUpdate {
            drive_id: "d".to_owned(),
            path_on_host: Some(HostPath::from(path)),
            rate_limiter: None,
        })
    }

    fn path(config: &Draft) -> &str {
        let path = config.drives[0].path_on_host.as_ref();
        path.map_or("", HostPath::as_str)
    }

    #[test]
    fn the_configuration_says_what_was_done_when_it_was_done() {
        let mut config = Draft {
            drives: vec![Drive {
                path_on_host: Some(HostPath::from("/old")),
                ..Drive::new("d")
            }],
            ..Draft::default()
        };
        let mut late = Late::default();
        let (done, waits) = mpsc::channel();
        late.push(update("/new"), waits);
        late.settle(&mut config);
        assert_eq!(path(&config), "/old");
        done.send(true).unwrap();
        late.settle(&mut config);
        assert_eq!(path(&config), "/new");
        late.settle(&mut config);
        assert!(late.0.is_empty());

        // Those that fail, and those that were withdrawn.
        let (failed, waits) = mpsc::channel();
        late.push(update("/bad"), waits);
        failed.send(false).unwrap();
        let (withdrawn, waits) = mpsc::channel();
        late.push(update("/never"), waits);
        drop(withdrawn);
        late.settle(&mut config);
        assert_eq!((path(&config), late.0.len()), ("/new", 0));

        // What no longer fits changes nothing.
        let (done, waits) = mpsc::channel();
        late.push(
            Request::PatchBalloon(BalloonUpdate { amount_mib: 1 }),
            waits,
        );
        done.send(true).unwrap();
        late.settle(&mut config);
        assert!(config.balloon.is_none());
    }
}
