//! The requests that the machine has: one that it answers before it gets another, and one that takes long, which waits aside.

use hull_vm_api::server::Call;
use hull_vm_api::{Fault, Reply, Request};

#[derive(Debug, Default)]
pub(super) struct Answering {
    under_way: Option<Call>,
    aside: Option<Call>,
}

/// The body in JSON, if there is one.
type Answer = Result<Option<String>, Fault>;

impl Answering {
    /// Whether it can have another.
    pub(super) fn is_free(&self) -> bool {
        self.under_way.is_none()
    }

    /// It has this one.
    pub(super) fn begin(&mut self, call: Call) {
        self.under_way = Some(call);
    }

    /// The one that it had is answered.
    pub(super) fn end(&mut self, answer: Answer) {
        finish(self.under_way.take(), answer);
    }

    /// Whether the one that it has can wait aside: a snapshot can, if no other does.
    pub(super) fn can_wait(&self) -> bool {
        let request = self.under_way.as_ref().map(Call::request);
        matches!(request, Some(Request::CreateSnapshot(_))) && self.aside.is_none()
    }

    /// The one that it has waits aside.
    pub(super) fn set_aside(&mut self) {
        self.aside = self.under_way.take();
    }

    /// Whether there is one aside.
    pub(super) fn waits(&self) -> bool {
        self.aside.is_some()
    }

    /// The one aside is answered.
    pub(super) fn end_aside(&mut self, answer: Answer) {
        finish(self.aside.take(), answer);
    }
}

fn finish(call: Option<Call>, answer: Answer) {
    let Some(call) = call else {
        return;
    };
    let reply = match call.request() {
        Request::GetMetrics => Reply::Metrics,
        _ => Reply::Json,
    };
    call.answer(answer.map(|body| body.map_or(Reply::Done, reply)));
}
