//! What one user has used, by window. It only adds up: an administrator who resets a limit notes what is forgiven, and takes
//! nothing away. Knows no clock and no limit but those it is asked about.

use super::limits::{Resource, Window};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// Amounts of all that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) cpu_us: u64,
    pub(super) answer_bytes: u64,
    pub(super) written_bytes: u64,
}

impl Counts {
    const fn of(self, resource: Resource) -> u64 {
        match resource {
            Resource::Calls => self.calls,
            Resource::Cpu => self.cpu_us,
            Resource::AnswerBytes => self.answer_bytes,
            Resource::WrittenBytes => self.written_bytes,
        }
    }

    const fn plus(self, more: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(more.calls),
            cpu_us: self.cpu_us.saturating_add(more.cpu_us),
            answer_bytes: self.answer_bytes.saturating_add(more.answer_bytes),
            written_bytes: self.written_bytes.saturating_add(more.written_bytes),
        }
    }
}

/// One amount that a limit allows in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cap {
    /// Of the limit.
    pub(super) name: Arc<str>,
    pub(super) window: Window,
    pub(super) resource: Resource,
    /// As it is written: calls, seconds, bytes.
    pub(super) most: u64,
}

impl Cap {
    /// As it is counted.
    const fn most_counted(&self) -> u64 {
        self.most.saturating_mul(self.resource.scale())
    }
}

/// What was counted in the window that began then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    /// Seconds since 1970.
    start: i64,
    counts: Counts,
}

/// What had been used when a limit was reset, in the window that began then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Forgiven {
    window: Window,
    start: i64,
    counts: Counts,
}

/// What one user has used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    windows: BTreeMap<Window, Counted>,
    /// By the name of the limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    forgiven: BTreeMap<String, Forgiven>,
}

impl Account {
    /// Adds to what was used, in each of these windows. `now` is in seconds since 1970, here and below.
    pub(super) fn charge(&mut self, counts: Counts, windows: &[Window], now: i64) {
        for window in windows {
            let Counted { start, counts: before } = self.current(*window, now);
            self.windows.insert(*window, Counted { start, counts: before.plus(counts) });
        }
        let windows = &self.windows;
        self.forgiven.retain(|_, old| windows.get(&old.window).is_some_and(|now| now.start == old.start));
    }

    /// How much of that counts against it, as it is counted.
    pub(super) fn used(&self, cap: &Cap, now: i64) -> u64 {
        let Counted { start, counts } = self.current(cap.window, now);
        let forgiven = self.forgiven.get(&*cap.name);
        let forgiven = forgiven.filter(|old| old.window == cap.window && old.start == start);
        let forgiven = forgiven.map_or(0, |old| old.counts.of(cap.resource));
        counts.of(cap.resource).saturating_sub(forgiven)
    }

    /// When that window ends, in seconds since 1970.
    pub(super) fn ends_at(&self, window: Window, now: i64) -> i64 {
        self.current(window, now).start.saturating_add(window.seconds())
    }

    /// Of these, the one that is used up for longest; `None` if another call may begin. Of several, the one that allows least.
    pub(super) fn exhausted<'a>(&self, caps: impl Iterator<Item = &'a Cap>, now: i64) -> Option<&'a Cap> {
        caps.filter(|cap| self.used(cap, now) >= cap.most_counted()).max_by_key(|cap| {
            (self.ends_at(cap.window, now), Reverse((cap.resource, cap.most, cap.window, cap.name.clone())))
        })
    }

    /// What was used in the window does not count against the limit of that name any more.
    pub(super) fn forgive(&mut self, name: &str, window: Window, now: i64) {
        let Counted { start, counts } = self.current(window, now);
        self.windows.insert(window, Counted { start, counts });
        self.forgiven.insert(name.to_owned(), Forgiven { window, start, counts });
    }

    fn current(&self, window: Window, now: i64) -> Counted {
        let start = window.start(now);
        match self.windows.get(&window) {
            // A clock that is set back a little does not begin the window before once more.
            Some(counted)
                if counted.start >= start && counted.start.saturating_sub(start) <= window.seconds() =>
            {
                *counted
            }
            _ => Counted { start, counts: Counts::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn cap(name: &str, window: Window, resource: Resource, most: u64) -> Cap {
        Cap { name: name.into(), window, resource, most }
    }

    const CALL: Counts = Counts { calls: 1, cpu_us: 0, answer_bytes: 0, written_bytes: 0 };

    #[test]
    fn each_window_counts_for_itself_and_begins_anew() {
        let caps = [
            cap("minute", Window::Minute, Resource::Calls, 2),
            cap("hour", Window::Hour, Resource::Calls, 3),
            cap("cpu", Window::Day, Resource::Cpu, 2),
        ];
        let mut account = Account::default();
        // When, what is charged, and which of them refuses the next call then.
        for (now, counts, refused) in [
            (7200, CALL, None),
            (7210, CALL, Some("minute")),
            (7261, CALL, Some("hour")),
            (10_799, Counts::default(), Some("hour")),
            (10_800, CALL, None),
            (10_801, Counts { cpu_us: 1_999_999, ..Counts::default() }, None),
            (10_802, Counts { cpu_us: 1, ..Counts::default() }, Some("cpu")),
            (86_399, Counts::default(), Some("cpu")),
            (86_400, Counts::default(), None),
        ] {
            account.charge(counts, &Window::ALL, now);
            let found = account.exhausted(caps.iter(), now).map(|cap| &*cap.name);
            assert_eq!(found, refused, "at {now}");
        }
        assert_eq!(account.ends_at(Window::Day, 86_400), 2 * 86_400);
    }

    #[test]
    fn a_reset_forgives_one_limit_until_its_window_ends() {
        let (one, other) =
            (cap("a", Window::Hour, Resource::Calls, 1), cap("b", Window::Hour, Resource::Calls, 1));
        let mut account = Account::default();
        account.charge(CALL, &Window::ALL, 10);
        account.forgive("a", Window::Hour, 20);
        assert_eq!((account.used(&one, 20), account.used(&other, 20)), (0, 1));
        account.charge(CALL, &Window::ALL, 30);
        assert_eq!((account.used(&one, 30), account.used(&other, 30)), (1, 2));
        account.charge(CALL, &Window::ALL, 3600);
        assert_eq!((account.used(&one, 3600), account.used(&other, 3600)), (1, 1));
        assert!(account.forgiven.is_empty());
        // It also comes back as it was stored.
        let json = serde_json::to_string(&account).unwrap();
        assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), account);
    }

    #[test]
    fn a_clock_set_back_a_little_gives_nothing_and_one_that_was_far_ahead_blocks_nobody() {
        let cap = cap("a", Window::Hour, Resource::Calls, 1);
        let mut account = Account::default();
        account.charge(CALL, &Window::ALL, 3600);
        assert_eq!(account.used(&cap, 3599), 1);
        account.charge(CALL, &Window::ALL, 1_000_000);
        assert_eq!(account.used(&cap, 3600), 0);
    }

    fn any_cap() -> impl Strategy<Value = Cap> {
        let window = prop::sample::select(Window::ALL.to_vec());
        let resource = prop::sample::select(Resource::ALL.to_vec());
        (prop::sample::select(vec!["a", "b", "c"]), window, resource, 1..20_u64)
            .prop_map(|(name, window, resource, most)| cap(name, window, resource, most))
    }

    fn any_counts() -> impl Strategy<Value = Counts> {
        let amount = prop_oneof![0..5_u64, Just(u64::MAX / 2)];
        (amount.clone(), 0..5_000_000_u64, amount.clone(), amount).prop_map(
            |(calls, cpu_us, answer_bytes, written_bytes)| Counts {
                calls,
                cpu_us,
                answer_bytes,
                written_bytes,
            },
        )
    }

    proptest! {
        #[test]
        fn within_a_window_nothing_that_was_charged_is_lost(
            charges in vec((0..200_i64, any_counts()), 0..40),
            cap in any_cap(),
        ) {
            let mut account = Account::default();
            let (mut now, mut before, mut end) = (0, 0, 0);
            for (later, counts) in charges {
                now += later;
                if now >= end {
                    (before, end) = (0, cap.window.start(now) + cap.window.seconds());
                }
                account.charge(counts, &Window::ALL, now);
                let used = account.used(&cap, now);
                prop_assert!(used >= before.max(counts.of(cap.resource)));
                prop_assert_eq!(account.ends_at(cap.window, now), end);
                before = used;
            }
        }

        #[test]
        fn the_strictest_counts_in_whichever_order_they_are(
            charges in vec((0..200_i64, any_counts()), 0..20),
            caps in vec(any_cap(), 1..8),
            turned in any::<prop::sample::Index>(),
        ) {
            let mut account = Account::default();
            let mut now = 0;
            for (later, counts) in charges {
                now += later;
                account.charge(counts, &Window::ALL, now);
            }
            let found = account.exhausted(caps.iter(), now);
            // Refused exactly if one of them alone would refuse.
            let alone = |cap: &Cap| account.exhausted(std::iter::once(cap), now).is_some();
            prop_assert_eq!(found.is_some(), caps.iter().any(alone));
            if let Some(found) = found {
                // When that is free again, all are.
                let free_at = account.ends_at(found.window, now);
                prop_assert!(account.exhausted(caps.iter(), free_at).is_none());
                let as_long = |cap: &&Cap| alone(cap) && account.ends_at(cap.window, now) == free_at;
                let alike = caps.iter().filter(as_long).filter(|cap| cap.resource == found.resource);
                prop_assert_eq!(alike.map(|cap| cap.most).min(), Some(found.most));
            }
            let mut other = caps.clone();
            other.rotate_left(turned.index(caps.len()));
            prop_assert_eq!(account.exhausted(other.iter(), now), found);
            other.reverse();
            prop_assert_eq!(account.exhausted(other.iter(), now), found);
        }
    }
}
