"""The CRDs as texts: whoever writes a manifest finds help at every field, whoever applies one gets it merged."""


def schema_of(crd):
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(schema, path="", *, required=False):
    """Yield every schema with its path and whether it must be there."""
    yield path, schema, required
    for name, below in schema.get("properties", {}).items():
        yield from walk(below, f"{path}.{name}", required=name in schema.get("required", []))
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]", required=True)
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}.*", required=True)


def fields_of_the_author(crd):
    """Yield what an author decides: the spec, without what belongs to the pod template."""
    for path, schema, required in walk(schema_of(crd)):
        if path.startswith(".spec.") and ".template." not in path and path[-1] not in "]*":
            yield path, schema, required


def test_every_field_has_a_description_in_whole_sentences(crd):
    poor = [path for path, schema, _ in walk(schema_of(crd)) if not schema.get("description", "").endswith(".")]

    assert poor == []


def test_a_description_says_what_must_be_there_and_what_is_there_by_itself(crd):
    silent = [
        path
        for path, schema, required in fields_of_the_author(crd)
        if not schema["description"].count("Required" if required else "Default")
    ]

    assert silent == []


def test_a_description_names_the_default_of_the_schema(crd):
    def said(value):
        text = " and ".join(value) if isinstance(value, list) else str(value)
        return text.lower() if isinstance(value, bool) else text

    wrong = [
        path
        for path, schema, _ in fields_of_the_author(crd)
        if schema.get("default", {}) != {} and f"Default {said(schema['default'])}." not in schema["description"]
    ]

    assert wrong == []


def test_a_description_names_the_limits_of_a_number_and_of_a_list(crd):
    limits = [
        (path, f"{schema['minimum']} to {schema['maximum']}", schema["description"])
        for path, schema, _ in fields_of_the_author(crd)
        if schema.get("type") == "integer"
    ]
    limits += [
        (path, str(schema["maxItems"]), schema["description"])
        for path, schema, _ in fields_of_the_author(crd)
        if schema.get("type") == "array"
    ]

    assert [(path, limit) for path, limit, description in limits if limit not in description] == []


def test_every_list_says_how_it_is_merged(crd):
    lists = {path: schema for path, schema, _ in walk(schema_of(crd)) if schema.get("type") == "array"}

    assert [path for path, schema in lists.items() if "x-kubernetes-list-type" not in schema] == []
    for schema in lists.values():
        keys = schema.get("x-kubernetes-list-map-keys", [])
        assert set(keys) <= set(schema["items"].get("required", []))


def test_every_string_list_and_map_of_the_spec_is_bounded(crd):
    """What is unbounded costs without limit in a rule, and in the operator's memory."""
    bound = {"string": "maxLength", "array": "maxItems"}
    unbounded = [
        path
        for path, schema, _ in fields_of_the_author(crd)
        if schema.get("type") in bound and bound[schema["type"]] not in schema and "enum" not in schema
    ]

    assert unbounded == []


def test_a_pattern_never_stands_alone(crd):
    """The server answers a wrong pattern with the pattern; a rule beside it says what to write."""
    alone = [
        path
        for path, schema, _ in fields_of_the_author(crd)
        if "pattern" in schema and "x-kubernetes-validations" not in schema
    ]

    assert alone == []


def test_every_rule_has_a_message(crd):
    rules = [rule for _, schema, _ in walk(schema_of(crd)) for rule in schema.get("x-kubernetes-validations", [])]

    assert rules
    assert [rule for rule in rules if len(rule.get("message", "")) < 20] == []


def test_the_template_declares_no_default_and_prunes_nothing(crd):
    inside = [
        (path, schema) for path, schema, _ in walk(schema_of(crd)) if path.split("[].")[-1].startswith("template")
    ]

    for path, schema in inside:
        assert "default" not in schema, path
        if schema.get("type") == "object":
            assert schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema, path
