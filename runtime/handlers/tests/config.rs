//! The configuration as users write it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use kew_handlers::{Config, handlers};

#[test]
fn an_empty_configuration_gives_all_five_handlers() {
    let dir = tempfile::tempdir().unwrap();
    let config: Config = toml::from_str("").unwrap();
    let all = handlers(&config, &dir.path().join("new")).unwrap();
    let queues: Vec<&str> = all.keys().map(String::as_str).collect();
    let expected = ["ai_enhancement", "analytics_processing", "data_sync", "email_notification", "pdf_generation"];
    assert_eq!(queues, expected);
}

#[test]
fn an_unknown_key_is_refused() {
    let error = toml::from_str::<Config>("[email]\nhots = \"mail.example\"").unwrap_err();
    assert!(error.to_string().contains("hots"), "{error}");
}

#[test]
fn every_section_can_be_set() {
    let config: Config = toml::from_str(
        "[pdf]\npayload_bytes_max = 1000\n[ai]\nbase_url = \"https://ai.example/v1\"\nkey = \"k\"\n\
         [email]\nhost = \"mail.example\"\nsecurity = \"tls\"\n[sync]\nbase_url = \"https://s.example\"\n\
         [analytics]\nbase_url = \"https://a.example/events\"\n",
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(handlers(&config, dir.path()).is_ok());
}

#[test]
fn plain_http_to_another_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for section in ["ai", "sync", "analytics"] {
        let text = format!("[{section}]\nbase_url = \"http://other.example\"");
        let error = handlers(&toml::from_str(&text).unwrap(), dir.path()).err().unwrap();
        assert!(error.to_string().starts_with(&format!("set up [handlers.{section}]: ")), "{error}");
        assert!(error.to_string().contains("must be https"), "{error}");
    }
}

#[test]
fn the_example_states_every_default() {
    let example: toml::Table = toml::from_str(include_str!("../examples/handlers.toml")).unwrap();
    assert_eq!(example["handlers"].clone().try_into::<Config>().unwrap(), Config::default());
}
