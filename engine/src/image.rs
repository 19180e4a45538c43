//! What the engine needs to know from an image's configuration.

use oci_spec::image::ImageConfiguration;

use crate::spec::ImageDefaults;

/// The defaults that an image gives to its processes; what it does not say is empty.
pub(crate) fn defaults(configuration: &ImageConfiguration) -> ImageDefaults {
    let Some(config) = configuration.config() else {
        return ImageDefaults::default();
    };
    ImageDefaults {
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        command: config.cmd().clone().unwrap_or_default(),
        env: config.env().clone().unwrap_or_default(),
        working_dir: config.working_dir().clone().unwrap_or_default(),
        user: config.user().clone().unwrap_or_default(),
        stop_signal: config.stop_signal().clone().unwrap_or_default(),
        volumes: config.volumes().clone().unwrap_or_default(),
    }
}
