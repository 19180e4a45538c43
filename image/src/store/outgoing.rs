//! Images on their way out, to a registry or an archive.
//!
//! A layer goes out as the tar stream that it came as. One that was imported before its headers were kept cannot: it goes out in
//! its canonical form, under another diffID, and the configuration of the image names that, so the copy has another id than
//! the image here. The same image always makes the same copy.

use std::io::{self, Write};

use serde_json::Value;

use super::{Error, Image, LayerFiles, Store};
use crate::config::Config;
use crate::digest::Digest;
use crate::layer;

/// An image as it goes out. Its files stay while this lives.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) image: Image,
    /// The configuration that names what `layers` are out there.
    pub(crate) config: Config,
    /// Lowest first.
    pub(crate) layers: Vec<OutgoingLayer>,
}

/// A layer as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingLayer {
    /// The digest of its tar stream.
    pub(crate) diff_id: Digest,
    /// The length of that in bytes.
    pub(crate) length: u64,
    /// The layer that it is in this store.
    pub(crate) layer: Digest,
    files: LayerFiles,
    as_it_came: bool,
}

impl Store {
    /// Prepares an image to go out. Layers without headers are read for it, so this may take a while.
    pub(crate) fn outgoing(&self, image: &Digest) -> Result<Outgoing, Error> {
        let image = self.image(&image.to_string())?;
        let config = self.config(&image.id())?;
        let layers = config.layers().iter().map(|layer| {
            self.outgoing_layer(layer).map_err(|source| Error::Layer {
                layer: *layer,
                source,
            })
        });
        let layers = layers.collect::<Result<Vec<_>, Error>>()?;
        let config = if layers.iter().all(|layer| layer.as_it_came) {
            config
        } else {
            renamed(&config, &layers)?
        };
        Ok(Outgoing {
            image,
            config,
            layers,
        })
    }

    fn outgoing_layer(&self, layer: &Digest) -> Result<OutgoingLayer, layer::Error> {
        let files = self.layout().layer(layer);
        let as_it_came = files.headers.is_file();
        let (diff_id, length) = if as_it_came {
            (*layer, layer::tar_len(&files.headers, layer)?)
        } else {
            layer::write_canonical(&files.blob, &files.index, &mut io::sink())?
        };
        Ok(OutgoingLayer {
            diff_id,
            length,
            layer: *layer,
            files,
            as_it_came,
        })
    }
}

impl OutgoingLayer {
    /// Writes its tar stream, whose digest and length are as announced if this succeeds.
    pub(crate) fn write(&self, out: &mut dyn Write) -> Result<(), layer::Error> {
        let LayerFiles {
            blob,
            index,
            headers,
        } = &self.files;
        if self.as_it_came {
            return layer::write_tar(blob, index, headers, out);
        }
        let made = layer::write_canonical(blob, index, out)?;
        if made == (self.diff_id, self.length) {
            return Ok(());
        }
        Err(layer::Error::Damaged {
            path: index.clone(),
            what: "it changed while the layer was written".to_owned(),
        })
    }
}

/// The configuration with the diffIDs that the layers have out there.
fn renamed(config: &Config, layers: &[OutgoingLayer]) -> Result<Config, Error> {
    let syntax = |e| Error::Config(crate::config::Error::Syntax(e));
    let mut value: Value = serde_json::from_slice(config.bytes()).map_err(syntax)?;
    let ids: Vec<Value> = layers
        .iter()
        .map(|layer| layer.diff_id.to_string().into())
        .collect();
    if let Some(rootfs) = value.get_mut("rootfs").and_then(Value::as_object_mut) {
        rootfs.insert("diff_ids".to_owned(), ids.into());
    }
    let bytes = serde_json::to_vec(&value).map_err(syntax)?;
    Config::parse(bytes).map_err(Error::Config)
}
