//! Progress of pulls, pushes and loads on standard error: bars on a terminal, else a line for each change.

use std::io::IsTerminal;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hull_image::progress::Silent;
use hull_image::{Event, LayerInfo, LayerState, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Which way layers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

/// What fits the situation.
pub(super) fn choose(quiet: bool, way: Way) -> Arc<dyn Progress> {
    if quiet {
        Arc::new(Silent)
    } else if std::io::stderr().is_terminal() {
        Arc::new(Bars::new(way))
    } else {
        Arc::new(Lines {
            way,
            layers: Mutex::default(),
        })
    }
}

/// A bar per layer.
struct Bars {
    way: Way,
    multi: MultiProgress,
    bars: Mutex<Vec<ProgressBar>>,
}

impl Bars {
    fn new(way: Way) -> Self {
        Self {
            way,
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)),
            bars: Mutex::default(),
        }
    }

    fn layers(&self, layers: &[LayerInfo]) {
        let moving = "{prefix}: {msg:12} [{bar:25}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
        let style = ProgressStyle::with_template(moving)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let add = |layer: &LayerInfo| {
            let bar = self.multi.add(ProgressBar::new(layer.size));
            bar.set_style(style.clone());
            bar.set_prefix(layer.layer.short());
            bar.set_message("Queued");
            bar
        };
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        *bars = layers.iter().map(add).collect();
    }
}

impl Progress for Bars {
    fn report(&self, event: &Event) {
        let (index, state) = match event {
            Event::Layers(layers) => return self.layers(layers),
            Event::Layer { index, state } => (*index, state),
            Event::Retry { why, after } => {
                // Failing to draw is no reason to fail.
                let _ = self.multi.println(retrying(why, *after));
                return;
            }
            _ => return,
        };
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bar) = bars.get(index) else {
            return;
        };
        match state {
            LayerState::Downloading { received } => {
                bar.set_message("Downloading");
                bar.set_position(*received);
            }
            LayerState::Uploading { sent, size } => {
                bar.set_message("Pushing");
                bar.set_length(*size);
                bar.set_position(*sent);
            }
            LayerState::Present | LayerState::Done | LayerState::Mounted { .. } => {
                let template = "{prefix}: {msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.finish_with_message(text(state, self.way));
            }
            LayerState::Retrying { why, after } => {
                bar.set_message("Retrying");
                let line = format!("{}: {}", bar.prefix(), retrying(why, *after));
                let _ = self.multi.println(line);
            }
            other => bar.set_message(text(other, self.way)),
        }
    }
}

/// A line per change.
struct Lines {
    way: Way,
    layers: Mutex<Vec<(LayerInfo, Option<Discriminant<LayerState>>)>>,
}

impl Progress for Lines {
    fn report(&self, event: &Event) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Layers(found) => {
                *layers = found.iter().map(|layer| (*layer, None)).collect();
            }
            Event::Layer { index, state } => {
                let Some((layer, last)) = layers.get_mut(*index) else {
                    return;
                };
                let now = Some(discriminant(state));
                let again = matches!(state, LayerState::Retrying { .. });
                if *last != now || again {
                    *last = now;
                    anstream::eprintln!("{}: {}", layer.layer.short(), text(state, self.way));
                }
            }
            Event::Retry { why, after } => anstream::eprintln!("{}", retrying(why, *after)),
            _ => (),
        }
    }
}

fn text(state: &LayerState, way: Way) -> String {
    match state {
        LayerState::Compressing => "Preparing".to_owned(),
        LayerState::Uploading { .. } => "Pushing".to_owned(),
        LayerState::Mounted { from } => format!("Mounted from {from}"),
        LayerState::Present if way == Way::Out => "Layer already exists".to_owned(),
        LayerState::Done if way == Way::Out => "Pushed".to_owned(),
        LayerState::Waiting => "Waiting for another pull".to_owned(),
        LayerState::Downloading { .. } => "Downloading".to_owned(),
        LayerState::Retrying { why, after } => retrying(why, *after),
        LayerState::Unpacking => "Unpacking".to_owned(),
        LayerState::Present => "Already exists".to_owned(),
        LayerState::Done => "Complete".to_owned(),
        _ => String::new(),
    }
}

fn retrying(why: &str, after: Duration) -> String {
    format!("Retrying in {:.1} s: {why}", after.as_secs_f64())
}
