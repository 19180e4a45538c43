//! A line that says what one is waiting for, when it takes more than a moment.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// What ends sooner needs no words.
const MOMENT: Duration = Duration::from_secs(1);

/// Shows a line on standard error after a moment, if that is a terminal. Dropping it clears the line.
#[derive(Debug)]
pub(crate) struct Spinner {
    bar: ProgressBar,
    appearing: Option<JoinHandle<()>>,
}

impl Spinner {
    pub(crate) fn start(what: &'static str) -> Self {
        let bar = ProgressBar::hidden().with_style(ProgressStyle::default_spinner());
        let appearing = std::io::stderr().is_terminal().then(|| {
            let bar = bar.clone();
            tokio::spawn(async move {
                tokio::time::sleep(MOMENT).await;
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.set_message(what);
                bar.enable_steady_tick(Duration::from_millis(120));
            })
        });
        Self { bar, appearing }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(task) = &self.appearing {
            task.abort();
        }
        self.bar.finish_and_clear();
    }
}
