//! `--disable-content-trust`, which scripts for Docker have: signatures are not looked at here, which is what it says.

/// The option of commands that fetch or send images.
#[derive(Debug, clap::Args)]
pub(crate) struct Trust {
    /// Do not look at signatures
    #[arg(long = "disable-content-trust", hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", value_parser = disabled)]
    _disabled: bool,
}

fn disabled(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        _ => Err(
            "signatures are not looked at here: name an image by its digest to have exactly that"
                .to_owned(),
        ),
    }
}
