//! Files of variables, encrypted and plain: any text is read or refused, is the same when it is written again, and opens nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skynet_secrets::{Environment, MasterKey};

fuzz_target!(|input: (bool, &str)| {
    let (is_plain, text) = input;
    let key = MasterKey::from_bytes([7; 32]);
    if is_plain {
        let mut environment = Environment::default();
        if environment.add_plain(text, &[], &key, 1).is_ok() {
            assert!(environment.variables().all(|variable| variable.decrypt(&key, 1).is_ok()));
        }
        return;
    }
    if let Ok(environment) = Environment::parse(text) {
        assert!(environment.variables().all(|variable| variable.decrypt(&key, 1).is_err()));
        let again = Environment::parse(&environment.to_string()).expect("what was written is read");
        assert!(again.variables().eq(environment.variables()));
    }
});
