//! Templates that a start finds missing are made by the way, of the machine that it has at hand.

use tokio::net::UnixStream;

use super::Purpose;
use super::attempt::Attempt;
use super::origin::{Reach, keys};
use crate::error::{Error, sentence};
use crate::session::{self, Mounting};
use crate::template::make::{MakeError, Making, Mounted, Subject};
use crate::template::{Kind, Templates};
use crate::timing::Timing;

impl Attempt<'_> {
    /// Makes the templates that are missing of a machine that is no clone of the nearest one; then it goes on like a clone of it.
    /// Whether it is configured.
    pub(super) async fn make_templates(
        &self,
        mut stream: UnixStream,
        reach: Reach,
        purpose: &Purpose,
        timing: &mut Timing,
    ) -> Result<(UnixStream, bool), Error> {
        let around = self.around;
        let keys = match reach {
            Reach::Template(Kind::Image) => return Ok((stream, true)),
            _ if self.plan.has_disk => return Ok((stream, false)),
            _ => around
                .templates
                .as_ref()
                .zip(keys(self.plan, around, &self.opened.shares)),
        };
        let Some((templates, keys)) = keys else {
            return Ok((stream, false));
        };
        let mut subject = Subject {
            key: keys.machine,
            shape: self.plan.shape,
            mounted: None,
        };
        if reach == Reach::Boot && !templates.has(&subject.key) {
            let Some(making) = begin(templates) else {
                return Ok((stream, false));
            };
            session::hold(stream, None).await?;
            self.make(making, subject.clone()).await?;
            stream = session::connect(&self.sockets.vsock).await?;
            timing.step("template of the machine");
        }
        if matches!(purpose, Purpose::Visit) {
            // Its container will have a disk then, and images between the steps of a build run nothing more.
            return Ok((stream, false));
        }
        let Some(making) = begin(templates) else {
            return Ok((stream, false));
        };
        let record = &self.plan.record;
        subject.key = keys.image;
        subject.mounted = Some(Mounted {
            image: record.image_id.clone(),
            reference: record.config.image.clone(),
            disk: self.plan.held.directory().disk(),
        });
        let mounting = Mounting {
            configure: self.plan.common(),
            programs: self.plan.programs(),
        };
        session::hold(stream, Some(mounting)).await?;
        self.make(making, subject).await?;
        stream = session::connect(&self.sockets.vsock).await?;
        timing.step("template of the image");
        Ok((stream, true))
    }

    /// Makes one template. That it cannot be made is no reason not to start.
    async fn make(&self, making: Making, subject: Subject) -> Result<(), Error> {
        let api = self.sockets.api.clone();
        let made = tokio::task::spawn_blocking(move || making.make(&api, &subject)).await;
        match made {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ MakeError::Resume(_))) => Err(Error::Template(error.into())),
            Ok(Err(error)) => {
                let error = sentence(&error);
                tracing::warn!(
                    error,
                    "no template was made; the next start will be as slow"
                );
                Ok(())
            }
            Err(error) => Err(Error::Template(error.into())),
        }
    }
}

fn begin(templates: &Templates) -> Option<Making> {
    let begun = Making::begin(templates);
    begun
        .inspect_err(|error| tracing::warn!(%error, "no template can be made; the next start will be as slow"))
        .ok()
}
