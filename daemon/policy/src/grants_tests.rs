use super::*;
use crate::approvals::tests::{approval, root};
use skynet_secrets::{MasterKey, Secrets};
use std::path::Path;

fn open(directory: &Path) -> Grants {
    let keyring = Secrets::open(&directory.join("secrets"), MasterKey::from_bytes([7; 32])).unwrap();
    let ledger = Ledger::open(&directory.join("audit"), 1 << 20).unwrap();
    Grants::open(&Tables::open(&directory.join("state")).unwrap(), ledger, Arc::new(Keyring::new(keyring)))
}

const INPUT: Wish = Wish { breadth: Breadth::Input, lives_for: None };

fn kinds(grants: &Grants) -> Vec<Value> {
    let records = grants.ledger.records().unwrap();
    records.map(|record| serde_json::from_slice::<Value>(&record.json).unwrap()["kind"].clone()).collect()
}

#[tokio::test]
async fn a_grant_is_recorded_listed_to_its_user_and_ends_once() {
    let directory = tempfile::tempdir().unwrap();
    let grants = open(directory.path());
    let one = approval(&json!({ "path": "a\u{202e}" }));
    let granted = grants.write(&one, covers(&one, Breadth::Input).unwrap(), INPUT, &root()).await.unwrap();
    assert_eq!((granted.uid, granted.granted_by, granted.expires_at), (1000, 0, None));
    assert_eq!(granted.respondent().means, Means::Grant(granted.id.clone()));
    assert_eq!(granted.respondent().user.as_deref(), Some("root"));
    assert_eq!(granted.text(), "path \"a\\u{202e}\"");
    assert_eq!(
        (grants.list(None).len(), grants.list(Some(1000)).len(), grants.list(Some(1)).len()),
        (1, 1, 0)
    );
    assert!(grants.revoke(&Approvals::default(), &granted.id, Some(1), 1).await.is_err(), "it is another's");
    assert!(grants.revoke(&Approvals::default(), "", None, 0).await.is_err());
    assert_eq!(grants.revoke(&Approvals::default(), &granted.id, None, 0).await.unwrap(), granted);
    assert!(
        grants.revoke(&Approvals::default(), &granted.id, None, 0).await.is_err()
            && grants.list(None).is_empty()
    );
    assert_eq!(kinds(&grants), ["grant", "grant_revoked"]);
}

#[tokio::test]
async fn what_ends_counts_for_nothing_and_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let grants = open(directory.path());
    let wish = Wish { lives_for: Some(Duration::ZERO), ..INPUT };
    for (wish, path) in [(wish, "a"), (Wish { lives_for: Some(Duration::MAX), ..INPUT }, "b")] {
        let one = approval(&json!({ "path": path }));
        grants.write(&one, covers(&one, Breadth::Path).unwrap(), wish, &root()).await.unwrap();
    }
    let left = grants.list(None);
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0].covers, grants.entries(None).count()), (&Covers::Path("b".into()), 1));
    assert_eq!(left[0].text(), "path b, whatever else");
}

#[tokio::test]
async fn a_grant_made_again_takes_the_place_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let grants = open(directory.path());
    let one = approval(&json!({}));
    let first = grants.write(&one, covers(&one, Breadth::Input).unwrap(), INPUT, &root()).await.unwrap();
    let second = grants.write(&one, covers(&one, Breadth::Input).unwrap(), INPUT, &root()).await.unwrap();
    assert_eq!(grants.list(None), [second]);
    assert!(grants.revoke(&Approvals::default(), &first.id, None, 0).await.is_err());
    assert_eq!(kinds(&grants), ["grant", "grant_revoked", "grant"]);
}

#[test]
fn what_may_not_be_granted_is_said() {
    let each_time = Approval { is_grantable: false, ..approval(&json!({ "path": "a" })) };
    assert!(covers(&each_time, Breadth::Input).unwrap_err().message.contains("wants a human each time"));
    assert!(covers(&each_time, Breadth::Path).is_err());
    let without = approval(&json!({ "paths": ["a"] }));
    assert!(covers(&without, Breadth::Path).unwrap_err().message.contains("leave out `--path`"));
    assert_eq!(covers(&without, Breadth::Input).unwrap(), Covers::Input(without.digest));
}

#[test]
fn a_key_is_of_one_user_place_tool_effect_and_input() {
    let base = approval(&json!({})).bounds;
    let of = |bounds: &Bounds, tool: &str, effect, covers: Covers| key(bounds, tool, effect, &covers);
    let input = || Covers::Input("d".into());
    let all = [
        of(&base, "t", Effect::Write, input()),
        of(&base, "u", Effect::Write, input()),
        of(&base, "t", Effect::Destroy, input()),
        of(&base, "t", Effect::Write, Covers::Input("e".into())),
        of(&base, "t", Effect::Write, Covers::Path("d".into())),
        of(&Bounds { owner: "1000/token".into(), ..base.clone() }, "t", Effect::Write, input()),
        of(&Bounds { workspace: "w".into(), ..base.clone() }, "t", Effect::Write, input()),
    ];
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

#[tokio::test]
async fn a_grant_of_before_names_were_kept_counts_on() {
    let directory = tempfile::tempdir().unwrap();
    let grants = open(directory.path());
    let one = approval(&json!({}));
    let granted = grants.write(&one, covers(&one, Breadth::Input).unwrap(), INPUT, &root()).await.unwrap();
    let mut stored = serde_json::to_value(&granted).unwrap();
    assert_eq!(stored.as_object_mut().unwrap().remove("granted_by_user"), Some(json!("root")));
    let old: Grant = serde_json::from_value(stored).unwrap();
    let expected = Respondent { means: Means::Grant(granted.id), uid: 0, user: None };
    assert!(old.is_alive() && old.respondent() == expected, "{old:?}");
}
