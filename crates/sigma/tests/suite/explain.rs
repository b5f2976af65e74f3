//! Why rules fire or do not.

use cybervault_sigma::{Explainer, Explanation, Mappings, PipelineFile, Pipelines, Routing, RuleFile};

use crate::{raw, reader};

const RULES: &str = r"title: Office starts a shell
id: shell
logsource: {product: windows, category: process_creation}
detection:
  parent:
    ParentImage|endswith: ['\winword.exe', '\excel.exe']
  child:
    - Image|endswith: '\cmd.exe'
      CommandLine|contains|all: [/c, whoami]
    - OriginalFileName: PowerShell.EXE
  filter: {User: SYSTEM}
  condition: parent and child and not filter
---
title: Not on the build machine
logsource: {product: windows}
filter:
  rules: [shell]
  machine: {Computer: build}
  condition: not machine
";

fn explain(event: &str, pipeline: &str) -> Explanation {
    let pipelines = Pipelines::read([PipelineFile { path: "p.yml", text: pipeline }]).unwrap();
    let files = [RuleFile { path: "r.yml", text: RULES }];
    let explainer = Explainer::new(files, &pipelines, &Mappings::builtin(), "shell").unwrap();
    let mut reader = reader();
    let document = reader.read(event.as_bytes()).unwrap();
    explainer.explain(&raw(&document, event.as_bytes()), Routing::Auto, &mut explainer.scratch())
}

#[test]
fn each_selection_line_and_value_is_told() {
    let event = r#"{"Channel":"Security","EventID":4688,"ParentProcessName":"C:\\Office\\WINWORD.EXE",
        "NewProcessName":"C:\\Windows\\System32\\cmd.exe","CommandLine":"cmd /c dir","SubjectUserName":"ann","Computer":"build"}"#;
    let told = explain(event, "{}");
    assert!(!told.fires && told.tried);
    assert_eq!(told.wanted, "windows/-/process_creation");
    assert_eq!(told.log_sources, ["windows/security/-", "windows/security/process_creation"]);
    assert_eq!(told.conditions, ["(parent and child and not filter)", "Not on the build machine: not machine"]);
    let holds: Vec<_> = told.selections.iter().map(|selection| (selection.name.as_str(), selection.holds)).collect();
    assert_eq!(
        holds,
        [("child", false), ("filter", false), ("parent", true), ("Not on the build machine: machine", true)]
    );
    let [image, command_line, original] = told.selections[0].lines.as_slice() else { panic!("{told:?}") };
    assert_eq!(
        (image.holds, image.alternative, image.found.as_slice()),
        (true, 0, &[r"C:\Windows\System32\cmd.exe".to_owned()][..])
    );
    assert_eq!(
        (command_line.all, command_line.holds, command_line.met.as_slice()),
        (true, false, &["/c".to_owned()][..])
    );
    assert_eq!((command_line.unmet, command_line.first_unmet.as_deref()), (1, Some("whoami")));
    assert_eq!((original.alternative, original.holds, original.found.len()), (1, false, 0));
    assert_eq!(told.selections[2].lines[0].met, [r"\winword.exe"]);
}

#[test]
fn an_event_of_another_log_source_is_said_to_be_one() {
    let event = r#"{"Channel":"System","EventID":1,"ParentImage":"x\\excel.exe","OriginalFileName":"PowerShell.EXE"}"#;
    let told = explain(event, "{}");
    assert!(!told.fires && !told.tried);
    assert!(told.selections.iter().any(|selection| selection.name == "parent" && selection.holds));
    let event = event.replace("System", "Microsoft-Windows-Sysmon/Operational");
    assert!(explain(&event, "{}").fires);
}

#[test]
fn the_rule_is_told_as_pipelines_change_it() {
    let pipeline = "transformations: [{type: field_name_mapping, mapping: {ParentImage: parent}}]";
    let event = r#"{"Channel":"Microsoft-Windows-Sysmon/Operational","EventID":1,"parent":"x\\excel.exe","OriginalFileName":"PowerShell.EXE"}"#;
    let told = explain(event, pipeline);
    assert!(told.fires, "{told:?}");
    assert_eq!(told.selections[2].lines[0].field.as_deref(), Some("parent"));
    let files = [RuleFile { path: "r.yml", text: RULES }];
    let error = Explainer::new(files, &Pipelines::default(), &Mappings::builtin(), "none").unwrap_err();
    assert!(error.to_string().contains("no rule has this id, name or title: none"));
}
