//! What of a call is kept for as long as its answer lasts.

use std::ops::Range;

use super::Summary;
use crate::envelope::Text;

impl Summary {
    /// The same without the bytes of the body that nobody asks for any more: of what names it, what it subscribes to, its
    /// `id` and its arguments there is a copy, the rest is gone. A stream may last an hour, and bodies may be filled up.
    #[must_use]
    pub fn compact(&self) -> Self {
        let mut body = Vec::new();
        let mut copy = |range: Option<&Range<usize>>| {
            let start = body.len();
            body.extend_from_slice(self.body.get(range?.clone()).unwrap_or_default());
            Some(start..body.len())
        };
        let (id, arguments) = (copy(self.id.as_ref()), copy(self.arguments.as_ref()));
        let name = self.name.as_ref();
        Self {
            body: body.into(),
            action: self.action,
            revision: self.revision,
            method: self.method.clone(),
            name: name.map(|name| Text::Resolved(name.of(&self.body).into())),
            id,
            progress_token: None,
            cancelled: None,
            arguments,
            request_state: None,
            declares_tasks: self.declares_tasks,
            touched: self.touched.copied(&self.body),
        }
    }
}
