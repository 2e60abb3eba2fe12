//! Where each message of a process belongs.

use doorward_mcp::message::identity;
use doorward_mcp::{Kind, Rewrite, ServerMessage};
use tokio::time::Instant;

use super::{
    ASKED, Asked, Era, Item, LASTING, LONGEST, Outbox, Outcome, Place, State, Way, completion, refusal,
};

impl State {
    /// Where a message of the process belongs.
    pub(in super::super) fn route(&mut self, message: &ServerMessage, now: Instant) -> Way {
        self.answered = true;
        match message.kind() {
            Kind::Response => self.response(message, now),
            Kind::Request => self.request(message, now),
            Kind::Notification => self.notification(message, now),
        }
    }

    fn response(&mut self, message: &ServerMessage, now: Instant) -> Way {
        let slot = ours(message.id()).and_then(|number| Some((number, self.calls.remove(&number)?)));
        let Some((number, slot)) = slot else {
            return Way::Nowhere("an answer that nobody waits for");
        };
        self.quiet_since = now;
        let line = message.rewritten(&Rewrite {
            id: Some(&slot.id),
            subscription: slot.is_listen.then_some(&*slot.id),
            ..Rewrite::default()
        });
        if let (Era::Legacy, Some(token)) = (self.era, slot.token) {
            self.lasting.insert(number, token);
            if self.lasting.len() > LASTING {
                self.lasting.pop_first();
            }
        }
        let outcome = match message.is_error() {
            true => Outcome::Error(message.error_code()),
            false => Outcome::Result,
        };
        let item = Item {
            line,
            answer: Some(outcome),
        };
        match slot.outbox {
            Some(outbox) => Way::To(Place::Answer, outbox, item),
            None => Way::Nowhere("an answer whose client has gone"),
        }
    }

    fn request(&mut self, message: &ServerMessage, now: Instant) -> Way {
        // 2026-07-28, stdio: servers must not, and clients must not write responses.
        let (Era::Legacy, Some(id)) = (self.era, message.id()) else {
            return Way::Nowhere("a request, which servers of this revision do not make");
        };
        if id.len() > LONGEST {
            return Way::Nowhere("a request with too long an id");
        }
        let key = identity(id).into_owned();
        if self.asked.len() >= ASKED {
            // Whoever was to answer the oldest has had more than its time.
            let oldest = self.asked.iter().min_by_key(|(_, asked)| asked.number);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.asked.remove(&oldest);
            }
        }
        let place = self.related();
        let number = self.number();
        self.asked.insert(key.clone(), Asked { place, number });
        match place.and_then(|place| Some((place, self.outbox(place)?))) {
            Some((place, outbox)) => Way::To(place, outbox, Item::message(message.line().clone())),
            None => self.keep(message, Some((key, id)), now),
        }
    }

    fn notification(&mut self, message: &ServerMessage, now: Instant) -> Way {
        match (message.method().unwrap_or_default(), self.era) {
            ("notifications/progress", _) => self.progress(message),
            ("notifications/cancelled", Era::Modern) => self.subscription_over(message, now),
            ("notifications/cancelled", Era::Legacy) => self.withdrawn(message, now),
            (method, Era::Modern) => self.modern(method, message),
            (method, Era::Legacy) => {
                let place = if is_unasked(method) {
                    self.listener.as_ref().map(|(number, _)| Place::Listener(*number))
                } else {
                    self.related()
                };
                match place.and_then(|place| Some((place, self.outbox(place)?))) {
                    Some((place, outbox)) => Way::To(place, outbox, Item::message(message.line().clone())),
                    None => self.keep(message, None, now),
                }
            }
        }
    }

    fn progress(&self, message: &ServerMessage) -> Way {
        let number = ours(message.progress_token());
        let (place, token) = match number {
            Some(number) if self.calls.contains_key(&number) => {
                let token = self.calls.get(&number).and_then(|slot| slot.token.as_deref());
                (Some(Place::Call(number)), token)
            }
            Some(number) => {
                let listener = self.listener.as_ref().map(|(number, _)| Place::Listener(*number));
                (listener, self.lasting.get(&number).map(AsRef::as_ref))
            }
            None => (None, None),
        };
        let outbox = place.and_then(|place| Some((place, self.outbox(place)?)));
        match (outbox, token) {
            (Some((place, outbox)), Some(token)) => {
                let line = message.rewritten(&Rewrite {
                    progress_token: Some(token),
                    ..Rewrite::default()
                });
                Way::To(place, outbox, Item::message(line))
            }
            _ => Way::Nowhere("progress that nobody waits for"),
        }
    }

    /// 2026-07-28, Cancellation: a server tears down a subscription. Over HTTP that is a completion.
    fn subscription_over(&mut self, message: &ServerMessage, now: Instant) -> Way {
        let number = ours(message.cancelled_request());
        let slot = number.filter(|number| self.calls.get(number).is_some_and(|slot| slot.is_listen));
        let Some(slot) = slot.and_then(|number| self.calls.remove(&number)) else {
            return Way::Nowhere("the end of no subscription");
        };
        self.quiet_since = now;
        match slot.outbox {
            Some(outbox) => Way::To(Place::Answer, outbox, completion(&slot.id)),
            None => Way::Nowhere("the end of a subscription whose client has gone"),
        }
    }

    /// A legacy server cancels a request of its own: that goes where the request went.
    fn withdrawn(&mut self, message: &ServerMessage, now: Instant) -> Way {
        let key = message.cancelled_request().map(|id| identity(id).into_owned());
        let Some(asked) = key.as_ref().and_then(|key| self.asked.remove(key)) else {
            return Way::Nowhere("the end of a request that is not open");
        };
        if let Some(key) = key
            && self.unread.remove(&key)
        {
            return Way::Nowhere("the end of a request that nobody was told of");
        }
        let place = asked
            .place
            .filter(|place| self.outbox(*place).is_some())
            .or_else(|| self.related());
        match place.and_then(|place| Some((place, self.outbox(place)?))) {
            Some((place, outbox)) => Way::To(place, outbox, Item::message(message.line().clone())),
            None => self.keep(message, None, now),
        }
    }

    fn modern(&self, method: &str, message: &ServerMessage) -> Way {
        let place = if let Some(id) = message.subscription_id() {
            ours(Some(id)).filter(|number| self.calls.get(number).is_some_and(|slot| slot.is_listen))
        } else if method == "notifications/message" {
            // It may go to the call that asked for it only, and does not say which: if there are several,
            // nobody gets it.
            let mut asked = self.calls.iter().filter(|(_, slot)| slot.wants_log);
            let first = asked.next().map(|(number, _)| *number);
            first.filter(|_| asked.next().is_none())
        } else {
            None
        };
        let slot = place.and_then(|number| Some((number, self.calls.get(&number)?)));
        match slot.and_then(|(number, slot)| Some((number, slot, slot.outbox.clone()?))) {
            Some((number, slot, outbox)) => {
                let line = message.rewritten(&Rewrite {
                    subscription: Some(&slot.id),
                    ..Rewrite::default()
                });
                Way::To(Place::Call(number), outbox, Item::message(line))
            }
            None => Way::Nowhere("a notification that belongs to no call"),
        }
    }

    /// Where a client listens that what a legacy server sends next may be about.
    fn related(&self) -> Option<Place> {
        let newest = self.calls.iter().rev().find(|(_, slot)| slot.is_attended());
        let newest = newest.map(|(number, _)| Place::Call(*number));
        let listener = self.listener.as_ref().filter(|(_, outbox)| outbox.is_open());
        let listener = listener.map(|(number, _)| Place::Listener(*number));
        if self.calls.len() == 1 {
            return newest.or(listener);
        }
        listener.or(newest)
    }

    fn outbox(&self, place: Place) -> Option<Outbox> {
        let outbox = match place {
            Place::Call(number) => self.calls.get(&number)?.outbox.as_ref()?,
            Place::Listener(number) => {
                let (listener, outbox) = self.listener.as_ref()?;
                (*listener == number).then_some(outbox)?
            }
            Place::Answer => return None,
        };
        outbox.is_open().then(|| outbox.clone())
    }

    fn keep(&mut self, message: &ServerMessage, asked: Option<(String, &str)>, now: Instant) -> Way {
        let asked = asked.map(|(key, id)| (key, Box::from(id)));
        let dropped = self.unread.push(message.line().clone(), asked, now);
        let mut refused = Vec::new();
        for (key, id) in dropped.iter().filter_map(|kept| kept.request()) {
            self.asked.remove(key);
            refused.push(refusal(id, "too many messages wait for a client"));
        }
        Way::Kept {
            dropped: dropped.len(),
            refused,
        }
    }
}

/// Our number in what a server repeats.
fn ours(raw: Option<&str>) -> Option<u64> {
    identity(raw?).parse().ok()
}

/// What is about the session rather than about a call.
fn is_unasked(method: &str) -> bool {
    method.ends_with("/list_changed")
        || matches!(
            method,
            "notifications/resources/updated" | "notifications/tasks/status"
        )
}
