use keg::Keg;

use super::*;
use crate::launch::{LayerToml, Types, parse_launch};

fn tree(objects: &dyn Objects, files: &[(&str, &str)]) -> Entry {
    let empty = objects.put_tree(&Tree::default()).expect("stored").kid().expect("a tree");
    let edits = files.iter().map(|(path, text)| {
        (*path, Edit::Set(objects.put_bytes(text.as_bytes()).expect("stored")))
    });
    edit(objects, &empty, edits).expect("a tree")
}

fn layer(name: &str, launch: bool, cache: bool, root: bool, content: Entry) -> Layer {
    let types = Types { launch, cache, build: false };
    let text = if root { "keg = { root = true }" } else { "" };
    let metadata = toml::from_str(text).expect("TOML");
    let toml = LayerToml { types, metadata };
    Layer { name: name.to_owned(), toml, content: Some(content) }
}

/// Assembles an image of the given layers; gives every path of its layers and its configuration.
fn assembled(keg: &Keg, layers: Vec<Layer>) -> (Vec<String>, Json, Kid) {
    let objects = keg.objects();
    let base = tree(objects, &[("etc/passwd", "root:x:0:0::/:/bin/sh"), ("bin/sh", "sh")]);
    let base = base.kid().expect("a tree");
    let launch = parse_launch("[[labels]]\nkey = 'k'\nvalue = 'v'").expect("a launch.toml");
    let app = tree(objects, &[("app.py", "app")]);
    let output = Output {
        directory: "keg_x".to_owned(),
        launch,
        layers,
        app,
        root: objects.tree_entry(&base).expect("there"),
        kept: Vec::new(),
        reused: false,
    };
    let processes = serde_json::from_str(r#"{"web": {"command": ["serve"], "shell": false}}"#);
    let parts = Parts {
        base,
        packages: base,
        wheels: None,
        output: &output,
        processes: &processes.expect("JSON"),
        created_ms: 1_700_000_000_000,
        labels: vec![("keg.build".to_owned(), "b".to_owned())],
    };
    let image = assemble(objects, &parts).expect("an image");
    let mut paths = Vec::new();
    for (name, entry) in &image.layers[1..] {
        list(objects, entry, name, &mut paths);
    }
    let kid = image.tree.kid().expect("a tree");
    let config = objects.walk(&kid, "config.json").expect("readable").expect("there");
    let config = objects.blob(&config.kid().expect("a blob")).expect("readable");
    (paths, serde_json::from_slice(&config).expect("JSON"), kid)
}

fn list(objects: &dyn Objects, entry: &Entry, prefix: &str, out: &mut Vec<String>) {
    let Value::Tree { kid, .. } = &entry.value else { return out.push(prefix.to_owned()) };
    for (name, child) in &objects.tree(kid).expect("there").entries {
        list(objects, child, &format!("{prefix}/{}", name.to_string_lossy()), out);
    }
}

#[test]
fn layers_go_where_they_belong() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let content = tree(objects, &[("bin/tool", "x"), ("env.launch/MODE", "on")]);
    let over = tree(objects, &[("usr/lib/more", "x")]);
    let (paths, config, _) = assembled(
        &keg,
        vec![
            layer("tools", true, true, false, content.clone()),
            layer("wheels", true, true, true, over.clone()),
            layer("site", true, false, false, content.clone()),
            layer("scratch", false, true, false, content),
        ],
    );
    let want = [
        "20-wheels/layers/keg_x/tools/bin/tool",
        "20-wheels/layers/keg_x/tools/env.launch/MODE",
        "20-wheels/usr/lib/more",
        "30-app/app/app.py",
        "30-app/etc/passwd",
        "30-app/layers/keg_x/site/bin/tool",
        "30-app/layers/keg_x/site/env.launch/MODE",
    ];
    assert_eq!(paths, want);
    let env = config["config"]["Env"].to_string();
    assert!(env.contains("MODE=on"), "{env}");
    let path = format!("PATH=/layers/keg_x/site/bin:/layers/keg_x/tools/bin:{PATH}");
    assert!(env.contains(&path), "{env}");
    assert_eq!(config["config"]["Labels"], json!({"k": "v", "keg.build": "b"}));
    assert_eq!(config["config"]["Cmd"], json!(["serve"]));
    assert_eq!(config["created"], "2023-11-14T22:13:20.000Z");
}

#[test]
fn the_same_parts_give_the_same_image() {
    let kids = [(), ()].map(|()| {
        let keg = Keg::in_memory();
        let content = tree(keg.objects(), &[("bin/tool", "x")]);
        assembled(&keg, vec![layer("tools", true, true, false, content)]).2
    });
    assert_eq!(kids[0], kids[1]);
}

#[test]
fn a_layer_cannot_replace_what_packages_have() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let content = tree(objects, &[("bin/sh", "another")]);
    let layers = vec![layer("bad", true, true, true, content)];
    let base = tree(objects, &[("bin/sh", "sh")]).kid().expect("a tree");
    let roots: Vec<Kid> = [base].into_iter().chain(crate::build::at_root(&layers)).collect();
    let failure = crate::build::join(objects, &roots).expect_err("they differ");
    assert!(failure.message.contains("bin/sh"), "{failure}");
}

#[test]
fn the_procfile_replaces_and_joins_what_the_pack_says() {
    let launch = parse_launch(
        "[[processes]]\ntype = 'web'\ncommand = ['/bin/sh', '-c', 'serve $PORT']\n\
         [[processes]]\ntype = 'cron'\ncommand = ['run']\nargs = ['daily']\n\
         [[processes]]\ntype = 'worker'\ncommand = ['old']\n",
    )
    .expect("a launch.toml");
    let procfile = procfile::parse("worker: new --now\nclock: a && b").expect("a Procfile");
    let want = json!({
        "web": {"command": "serve $PORT", "shell": true},
        "cron": {"command": ["run", "daily"], "shell": false},
        "worker": {"command": "exec new --now", "shell": true},
        "clock": {"command": "a && b", "shell": true},
    });
    assert_eq!(Json::Object(processes(&launch, &procfile)), want);
}
