use super::*;

fn choose(vars: &[(&str, &str)], uid: u32) -> Option<(String, String)> {
    let var = |name: &str| {
        vars.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| PathBuf::from(value))
    };
    let paths = Paths::choose(var, uid).ok()?;
    Some((
        paths.root.display().to_string(),
        paths.run.display().to_string(),
    ))
}

#[test]
fn root_uses_the_system_directories() {
    assert_eq!(
        choose(&[("HOME", "/root")], 0),
        Some(("/var/lib/hull".into(), "/run/hull".into()))
    );
}

#[test]
fn a_user_gets_the_xdg_directories() {
    let vars = [("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/7")];
    assert_eq!(
        choose(&vars, 7),
        Some((
            "/home/u/.local/share/hull".into(),
            "/run/user/7/hull".into()
        ))
    );
    assert_eq!(
        choose(&[], 7),
        None,
        "without any directory there is nothing to choose"
    );
}

#[test]
fn the_environment_overrides_both() {
    let vars = [("HULL_ROOT", "/a"), ("HULL_RUN", "/b"), ("HOME", "/home/u")];
    assert_eq!(choose(&vars, 0), Some(("/a".into(), "/b".into())));
    assert_eq!(
        choose(&[("HULL_ROOT", ""), ("HULL_RUN", "")], 0),
        choose(&[], 0)
    );
}
