"""What a person types: ``prp`` and its tree of commands.

`prp` holds the tree as a dict and chooses; `command` is what a command is: a line of help, and a
module that is imported when it is chosen, with `add_arguments` and `run`. `common_arguments` are
the options that several take (how S3 is reached, where labels come from, ``--json``),
`model_arguments` and `feature_arguments` those of the commands that use an encoder; `output_file`
checks the file that one writes. The commands:
`sweep` runs a study, `config` prints the config tree, `doctor` examines a cluster; `data` (index,
prepare, show, feasibility); of a sweep `status` (which shows `watch_sweep`), `ui`, `report`,
`export_study`, `publish`, `delete`, `reproduce` (which prints `compare_runs`) and those that
`steer` it; of an encoder `import_official`, `evaluate`, `embed`, `search`, `finetune` and `export`;
and `cache` (status, verify, clear). `parser_tree` joins the parsers of all of them, for
`completion` and the command reference. A study under ``sweeps/`` is a program as well: see
`orchestrator.sweep`.

A command's module imports nothing heavy at its top: what it needs is imported by its `run`.
"""
