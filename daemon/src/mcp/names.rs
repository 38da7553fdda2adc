//! The ids of requests as rmcp knows them. A client may use an id again once it has canceled the request that had it;
//! rmcp, which may still be working on that, would give the late answer to the new request. So after the first cancel
//! of a connection, rmcp knows every request by a name of ours, which is never used twice.

use rmcp::model::RequestId;
use skynet_core::CallId;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// The requests of one connection that rmcp works on.
pub(super) struct Names {
    /// Begins every name, so that no id of a client can be one.
    prefix: String,
    next: u64,
    has_canceled: bool,
    /// By what rmcp knows them by.
    handed: HashMap<RequestId, Handed>,
    /// The renamed ones, by the ids of the client.
    renamed: HashMap<RequestId, RequestId>,
    /// Those that last for as long as their client listens.
    listening: HashSet<RequestId>,
}

struct Handed {
    call: CallId,
    /// What the client knows it by, if that is something else.
    id: Option<RequestId>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            prefix: format!("{}/", Uuid::new_v4().as_simple()),
            next: 0,
            has_canceled: false,
            handed: HashMap::new(),
            renamed: HashMap::new(),
            listening: HashSet::new(),
        }
    }

    /// What rmcp is to know a request by.
    pub(super) fn hand_over(&mut self, id: RequestId, call: CallId) -> RequestId {
        if !self.has_canceled {
            self.handed.insert(id.clone(), Handed { call, id: None });
            return id;
        }
        self.next += 1;
        let name = RequestId::String(format!("{}{}", self.prefix, self.next).into());
        self.handed.insert(name.clone(), Handed { call, id: Some(id.clone()) });
        self.renamed.insert(id, name.clone());
        name
    }

    /// What rmcp knows a request by that is no longer wanted. Its answer, if one comes all the same, is nobody's.
    pub(super) fn cancel(&mut self, id: RequestId) -> RequestId {
        self.has_canceled = true;
        let name = self.renamed.remove(&id).unwrap_or(id);
        self.handed.remove(&name);
        self.listening.remove(&name);
        name
    }

    /// The request that rmcp answers, and what the client knows it by; `None` if it was canceled.
    pub(super) fn answered(&mut self, name: &RequestId) -> Option<(CallId, RequestId)> {
        let Handed { call, id } = self.handed.remove(name)?;
        self.listening.remove(name);
        if let Some(id) = &id {
            self.renamed.remove(id);
        }
        Some((call, id.unwrap_or_else(|| name.clone())))
    }

    /// Notes that a request lasts for as long as its client listens.
    pub(super) fn listens(&mut self, name: RequestId) {
        self.listening.insert(name);
    }

    /// How many do, and are neither answered nor canceled.
    pub(super) fn listening(&self) -> usize {
        self.listening.len()
    }

    /// The frame of a request.
    pub(super) fn frame_of(&self, name: &RequestId) -> Option<u64> {
        Some(self.handed.get(name)?.call.sequence)
    }

    /// What the client knows a request by.
    pub(super) fn of_client(&self, name: &RequestId) -> Option<&RequestId> {
        self.handed.get(name)?.id.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sequence: u64) -> CallId {
        CallId { session: Uuid::nil(), sequence, index: 0 }
    }

    #[test]
    fn a_late_answer_is_not_that_of_the_request_which_has_the_id_now() {
        let mut names = Names::new();
        let id = RequestId::Number(7);
        let first = names.hand_over(id.clone(), call(1));
        assert_eq!((&first, names.cancel(id.clone())), (&id, first.clone()));
        let second = names.hand_over(id.clone(), call(2));
        assert_eq!(names.answered(&first), None);
        assert_eq!(names.cancel(id.clone()), second);
        let third = names.hand_over(id.clone(), call(3));
        assert_eq!((names.of_client(&third), names.frame_of(&third)), (Some(&id), Some(3)));
        assert_eq!(names.answered(&second), None);
        assert_eq!(names.answered(&third), Some((call(3), id)));
        assert!(names.handed.is_empty() && names.renamed.is_empty());
    }

    #[test]
    fn who_listens_is_counted_until_the_answer_or_the_cancel() {
        let mut names = Names::new();
        for (sequence, number) in [(1, 7), (2, 8), (3, 9)] {
            let name = names.hand_over(RequestId::Number(number), call(sequence));
            names.listens(name);
        }
        assert_eq!(names.listening(), 3);
        names.cancel(RequestId::Number(8));
        assert_eq!(names.listening(), 2);
        assert!(names.answered(&RequestId::Number(7)).is_some());
        let again = names.hand_over(RequestId::Number(8), call(4));
        names.listens(again.clone());
        assert_eq!(names.listening(), 2);
        names.answered(&again);
        names.cancel(RequestId::Number(9));
        assert_eq!(names.listening(), 0);
    }
}
