//! Progress of pulls, pushes and loads as lines of JSON, in the words that Docker's client draws bars for.

use std::sync::{Mutex, PoisonError};

use hull_image::{Event, LayerInfo, LayerState, Progress};
use serde_json::{Value, json};

use crate::lines::Lines;
use crate::words;

/// Which way layers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// Writes lines.
pub(crate) struct Report {
    way: Way,
    lines: Lines,
    /// What is said before the first line, when there is something to tell.
    title: Option<Value>,
    /// The layers, and what was said of each last.
    layers: Mutex<Vec<(LayerInfo, Value)>>,
}

impl Report {
    pub(crate) fn new(way: Way, lines: Lines, title: Option<Value>) -> Self {
        Self {
            way,
            lines,
            title,
            layers: Mutex::default(),
        }
    }

    fn layers(&self, layers: &[LayerInfo]) {
        if let Some(title) = &self.title {
            self.say(title);
        }
        let mut known = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        *known = layers.iter().map(|layer| (*layer, Value::Null)).collect();
        drop(known);
        for layer in layers {
            let text = match self.way {
                Way::In => "Pulling fs layer",
                Way::Out => "Preparing",
            };
            self.say(&status(text, layer));
        }
    }

    fn layer(&self, index: usize, state: &LayerState) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((layer, last)) = layers.get_mut(index) else {
            return;
        };
        let line = line(self.way, layer, state);
        // What says nothing new would only cost time.
        if *last == line {
            return;
        }
        match state {
            // How far it is goes with every piece that comes. A slow client hears of some.
            LayerState::Downloading { .. } | LayerState::Uploading { .. } => {
                let _ = self.lines.send_in_passing(&line);
            }
            _ => self.say(&line),
        }
        *last = line;
    }

    fn say(&self, line: &Value) {
        // A client that has left calls the pull off by itself.
        let _ = self.lines.send(line);
    }
}

impl Progress for Report {
    fn report(&self, event: &Event) {
        match event {
            Event::Layers(layers) => self.layers(layers),
            Event::Layer { index, state } => self.layer(*index, state),
            Event::Retry { why, after } => {
                let text = format!("Retrying in {} seconds: {why}", after.as_secs().max(1));
                self.say(&json!({ "status": text }));
            }
            _ => (),
        }
    }
}

fn line(way: Way, layer: &LayerInfo, state: &LayerState) -> Value {
    match (way, state) {
        (_, LayerState::Downloading { received }) => {
            bar("Downloading", layer, *received, layer.size)
        }
        (_, LayerState::Retrying { after, .. }) => status(
            &format!("Retrying in {} seconds", after.as_secs().max(1)),
            layer,
        ),
        (_, LayerState::Unpacking) => bar("Extracting", layer, layer.size, layer.size),
        (_, LayerState::Compressing) => status("Preparing", layer),
        (_, LayerState::Uploading { sent, size }) => bar("Pushing", layer, *sent, *size),
        (_, LayerState::Mounted { from }) => status(&format!("Mounted from {from}"), layer),
        (Way::In, LayerState::Present) => status("Already exists", layer),
        (Way::Out, LayerState::Present) => status("Layer already exists", layer),
        (Way::In, LayerState::Done) => status("Pull complete", layer),
        (Way::Out, LayerState::Done) => status("Pushed", layer),
        _ => status("Waiting", layer),
    }
}

fn status(text: &str, layer: &LayerInfo) -> Value {
    json!({ "status": text, "progressDetail": {}, "id": layer.layer.short() })
}

/// `[=====>      ]  1.2MB/3MB`, for clients that draw nothing themselves.
fn bar(text: &str, layer: &LayerInfo, current: u64, total: u64) -> Value {
    const WIDTH: u64 = 50;
    let done = (current.min(total) * WIDTH)
        .checked_div(total)
        .unwrap_or(WIDTH);
    let done = usize::try_from(done).unwrap_or_default();
    let mut drawn = "=".repeat(done);
    if current < total {
        drawn.push('>');
    }
    json!({
        "status": text,
        "progressDetail": { "current": current, "total": total },
        "progress": format!("[{drawn:<51}]  {}/{}", words::size(current), words::size(total)),
        "id": layer.layer.short(),
    })
}
