from __future__ import annotations

import math
import pickle

import pytest

from vrm.data import InvalidRowError, parse_row

USER = {"role": "user", "content": "What is the tallest tree?"}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def pair(**columns):
    return {"prompt": "Name a tree.", "chosen": "Oak.", "rejected": "Granite.", **columns}


def ranked(**columns):
    return {"prompt": "Name a tree.", "completions": ["Oak.", "Elm.", "Granite."], **columns}


def problems_of(row, **arguments):
    with pytest.raises(InvalidRowError) as caught:
        parse_row(row, file="a.jsonl", line=7, **arguments)
    return [(problem.field, problem.kind) for problem in caught.value.problems]


def test_standard_pair_with_explicit_prompt():
    judgment = parse_row(pair(), file="a.jsonl", line=3)
    assert judgment.prompt == "Name a tree."
    assert judgment.completions == ["Oak.", "Granite."]
    assert (judgment.preference, judgment.margin) == (1.0, 0.0)
    assert (judgment.file, judgment.line) == ("a.jsonl", 3)
    assert judgment.ratings is None
    assert judgment.objective_votes is None
    assert judgment.is_comparison


def test_standard_pair_with_implicit_prompt():
    judgment = parse_row({"chosen": "Name a tree.\nOak.", "rejected": "Name a tree.\nGranite."})
    assert (judgment.prompt, judgment.completions) == ("Name a tree.\n", ["Oak.", "Granite."])


def test_conversational_pair_with_explicit_prompt():
    row = {"prompt": [USER], "chosen": [assistant("Redwood.")], "rejected": [assistant("Moss.")]}
    judgment = parse_row(row)
    assert judgment.prompt == [USER]
    assert judgment.completions == [[assistant("Redwood.")], [assistant("Moss.")]]


def test_conversational_pair_with_implicit_prompt():
    row = {"chosen": [USER, assistant("Redwood.")], "rejected": [USER, assistant("Moss.")]}
    judgment = parse_row(row)
    assert judgment.prompt == [USER]
    assert judgment.completions == [[assistant("Redwood.")], [assistant("Moss.")]]


def test_all_optional_columns_of_a_pair():
    row = pair(
        preference=0.75,
        margin=2,
        chosen_ratings={"safety": 4, "style": 1.5},
        rejected_ratings={"safety": 2},
        objective_votes={"safety": 2, "style": 0},
        tools=[{"name": "search"}],
        chat_template_kwargs={"enable_thinking": False},
        annotator=17,
        source="forest",
        category="botany",
    )
    judgment = parse_row(row, objectives=["safety", "style"])
    assert (judgment.preference, judgment.margin) == (0.75, 2.0)
    assert judgment.ratings == [{"safety": 4.0, "style": 1.5}, {"safety": 2.0}]
    assert judgment.objective_votes == {"safety": 2.0, "style": 0.0}
    assert judgment.tools == [{"name": "search"}]
    assert judgment.chat_template_kwargs == {"enable_thinking": False}
    assert (judgment.annotator, judgment.source, judgment.category) == ("17", "forest", "botany")


def test_ratings_of_one_side_only():
    assert parse_row(pair(rejected_ratings={"style": 3})).ratings == [{}, {"style": 3.0}]


def test_ranked_list_with_scores_and_ratings():
    judgment = parse_row(ranked(scores=[2, 1.5, -1], ratings=[{"style": 1}, None, {"style": None}]))
    assert not judgment.is_comparison
    assert judgment.scores == [2.0, 1.5, -1.0]
    assert judgment.ratings == [{"style": 1.0}, {}, {}]
    assert judgment.preference is None


def test_list_with_ratings_alone_is_not_ranked():
    judgment = parse_row(ranked(ratings=[{"style": 1}, {"style": 2}, {}]))
    assert judgment.scores is None
    assert judgment.ratings == [{"style": 1.0}, {"style": 2.0}, {}]


def test_two_completions_with_scores_stay_a_ranked_list():
    row = {"prompt": "p", "completions": [[assistant("a")], [assistant("b")]], "scores": [1, 2]}
    row["prompt"] = [USER]
    assert parse_row(row).scores == [1.0, 2.0]


def test_votes_without_completions():
    judgment = parse_row({"prompt": [USER], "objective_votes": {"accuracy": 3}})
    assert judgment.completions == []
    assert judgment.objective_votes == {"accuracy": 3.0}
    assert judgment.preference is None


def test_null_columns_and_entries_count_as_absent():
    row = pair(
        preference=None,
        scores=None,
        completions=None,
        chosen_ratings={"style": None, "safety": 1},
        objective_votes={"style": None},
        category=None,
    )
    judgment = parse_row(row)
    assert judgment.ratings == [{"safety": 1.0}, {}]
    assert judgment.objective_votes is None
    assert judgment.category is None


def test_null_keys_of_messages_are_removed():
    row = {
        "chosen": [{**USER, "name": None}, {**assistant("Oak"), "tool_calls": None}],
        "rejected": [USER, assistant("x")],
    }
    judgment = parse_row(row)
    assert judgment.prompt == [USER]
    assert judgment.completions[0] == [assistant("Oak")]


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "Name "}, {"type": "text", "text": "a tree."}]
    row = {"prompt": [{"role": "user", "content": parts}], "chosen": [assistant("Oak")], "rejected": [assistant("x")]}
    assert parse_row(row).prompt == [{"role": "user", "content": "Name a tree."}]


def test_tool_calls_need_no_content_and_tools_may_be_json_text():
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "search"}}]}
    row = {"prompt": [USER], "chosen": [call], "rejected": [assistant("x")], "tools": '[{"name": "search"}]'}
    judgment = parse_row(row)
    assert judgment.completions[0][0]["tool_calls"] == call["tool_calls"]
    assert judgment.tools == [{"name": "search"}]


def test_one_empty_message_in_a_prompt_is_allowed():
    prompt = [USER, assistant("Redwood."), {"role": "user", "content": ""}]
    judgment = parse_row({"prompt": prompt, "chosen": [assistant("Yes?")], "rejected": [assistant("Bye.")]})
    assert judgment.prompt == prompt


def test_mapping_renames_columns_and_problems_carry_the_names_of_the_file():
    mapping = {"prompt": "question", "chosen": "good", "rejected": "bad", "chosen_ratings": "r"}
    row = {"question": "Q", "good": "A", "bad": "B", "prompt": 5, "r": {"s": 1}}
    judgment = parse_row(row, mapping=mapping)
    assert (judgment.prompt, judgment.completions) == ("Q", ["A", "B"])
    assert judgment.ratings == [{"s": 1.0}, {}]
    found = problems_of({**row, "bad": " ", "r": {"s": "x"}}, mapping=mapping)
    assert found == [("bad", "empty completion"), ("r.s", "wrong type")]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, [("prompt", "missing field")]),
        ({"prompt": "p"}, [("", "nothing to learn")]),
        ({"prompt": "p", "objective_votes": {}}, [("", "nothing to learn")]),
        (pair(prompt=5), [("prompt", "wrong type")]),
        (pair(prompt=" \n"), [("prompt", "empty prompt")]),
        (pair(prompt=[]), [("prompt", "empty prompt"), ("chosen", "mixed formats")]),
        (pair(chosen=""), [("chosen", "empty completion")]),
        (pair(chosen="\u200b\u200d"), [("chosen", "empty completion")]),
        (pair(prompt="\u200e"), [("prompt", "empty prompt")]),
        (pair(rejected=None), [("rejected", "missing field")]),
        (pair(rejected="Oak."), [("chosen", "identical sides")]),
        ({"chosen": "same", "rejected": "same"}, [("chosen", "identical sides")]),
        ({"chosen": "Oak", "rejected": "Elm"}, [("prompt", "no implicit prompt")]),
        (pair(preference=1.5), [("preference", "out of range")]),
        (pair(preference=-0.1), [("preference", "out of range")]),
        (pair(preference="1"), [("preference", "wrong type")]),
        (pair(preference=True), [("preference", "wrong type")]),
        (pair(margin=math.inf), [("margin", "not finite")]),
        (pair(margin=10**400), [("margin", "not finite")]),
        (pair(margin=-1e31), [("margin", "out of range")]),
        (pair(chosen_ratings={"style": 1e200}), [("chosen_ratings.style", "out of range")]),
        (pair(chosen_ratings={"style": math.nan}), [("chosen_ratings.style", "not finite")]),
        (pair(chosen_ratings={"style": False}), [("chosen_ratings.style", "wrong type")]),
        (pair(chosen_ratings=[1]), [("chosen_ratings", "wrong type")]),
        (pair(objective_votes={"style": -1}), [("objective_votes.style", "negative vote")]),
        (pair(objective_votes={"style": 0, "safety": 0.0}), [("objective_votes", "all votes zero")]),
        (pair(objective_votes={" ": 1}), [("objective_votes", "unknown objective")]),
        (pair(objective_votes=["style"]), [("objective_votes", "wrong type")]),
        (pair(category=["a"]), [("category", "wrong type")]),
        (pair(annotator=True), [("annotator", "wrong type")]),
        (pair(tools="[{"), [("tools", "invalid JSON")]),
        (pair(tools={"name": "search"}), [("tools", "wrong type")]),
        (pair(chat_template_kwargs=[]), [("chat_template_kwargs", "wrong type")]),
        (pair(chosen="bad \ud800 text"), [("chosen", "invalid Unicode")]),
        (pair(scores=[1, 2]), [("scores", "mixed layouts")]),
        (pair(chosen=[assistant("Oak.")]), [("chosen", "mixed formats")]),
        (pair(prompt=[USER]), [("chosen", "mixed formats")]),
        ({"prompt": "p", "objective_votes": {"a": 1}, "margin": 1}, [("margin", "mixed layouts")]),
        ({"prompt": "p", "objective_votes": {"a": 1}, "scores": [1]}, [("scores", "mixed layouts")]),
        (ranked(), [("scores", "nothing to learn")]),
        (ranked(ratings=[{}, {}, None]), [("scores", "nothing to learn")]),
        (ranked(scores=[1, 2]), [("scores", "lengths differ")]),
        (ranked(ratings=[{"a": 1}]), [("ratings", "lengths differ")]),
        (ranked(scores=[1, math.nan, 2]), [("scores[1]", "not finite")]),
        (ranked(scores=[1, None, 2]), [("scores[1]", "wrong type")]),
        (ranked(scores="best"), [("scores", "wrong type")]),
        (ranked(scores=[1, 2, 3], preference=1.0), [("preference", "mixed layouts")]),
        (ranked(scores=[1, 2, 3], chosen="Oak."), [("chosen", "mixed layouts")]),
        (ranked(completions="Oak.", scores=[1]), [("completions", "wrong type")]),
        (ranked(completions=["Oak."], scores=[1]), [("completions", "too few completions")]),
        (ranked(completions=[], scores=[]), [("completions", "too few completions")]),
        (ranked(completions=["Oak.", ""], scores=[1, 2]), [("completions[1]", "empty completion")]),
        (ranked(completions=["Oak.", "\ufeff"], scores=[1, 2]), [("completions[1]", "empty completion")]),
        (ranked(completions=["Oak.", 3], scores=[1, 2]), [("completions[1]", "wrong type")]),
        (ranked(completions=["Oak.", "Oak."], scores=[1, 2]), [("completions[1]", "identical sides")]),
        (ranked(completions=["Oak.", [assistant("Elm.")]], scores=[1, 2]), [("completions[1]", "mixed formats")]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(row, expected):
    assert problems_of(row) == expected


@pytest.mark.parametrize(
    ("message", "field", "kind"),
    [
        ("hello", "chosen[0]", "bad message"),
        ({"role": "gpt", "content": "x"}, "chosen[0].role", "bad message"),
        ({"content": "x"}, "chosen[0].role", "bad message"),
        ({"role": "assistant"}, "chosen[0].content", "bad message"),
        ({"role": "assistant", "content": 5}, "chosen[0].content", "bad message"),
        ({"role": "assistant", "content": [{"type": "image"}]}, "chosen[0].content", "bad message"),
        ({"role": "assistant", "content": " "}, "chosen", "empty completion"),
        ({"role": "assistant", "content": "\u2060"}, "chosen", "empty completion"),
        ({"role": "user", "content": "x"}, "chosen", "bad message"),
    ],
)
def test_bad_messages(message, field, kind):
    row = {"prompt": [USER], "chosen": [message], "rejected": [assistant("Moss.")]}
    assert problems_of(row) == [(field, kind)]


def test_duplicates_in_a_list_are_allowed_when_their_scores_agree():
    assert parse_row(ranked(completions=["Oak.", "Oak.", "Elm."], scores=[1, 1, 0])).scores == [1.0, 1.0, 0.0]


def test_all_problems_of_a_row_are_carried():
    row = {"prompt": "", "chosen": "a", "rejected": "a", "preference": 2, "margin": "x", "source": 1.5}
    assert problems_of(row) == [
        ("prompt", "empty prompt"),
        ("chosen", "identical sides"),
        ("preference", "out of range"),
        ("margin", "wrong type"),
        ("source", "wrong type"),
    ]


def test_the_error_prints_file_line_field_value_and_survives_pickling():
    with pytest.raises(InvalidRowError, match=r"a\.jsonl:7: field 'preference': 2\.0 is outside \[0, 1\]") as caught:
        parse_row(pair(preference=2.0, margin="x"), file="a.jsonl", line=7)
    error = caught.value
    assert (error.file, error.line, error.field) == ("a.jsonl", 7, "preference")
    copy = pickle.loads(pickle.dumps(error))
    assert copy.problems == error.problems
    assert str(copy) == str(error)
    assert str(error).count("\n") == 1


def test_unknown_objectives_suggest_the_close_name():
    row = pair(chosen_ratings={"Saftey": 1, "style": 1}, objective_votes={"brevity": 1})
    with pytest.raises(InvalidRowError) as caught:
        parse_row(row, objectives=["safety", "style"])
    places = [problem.field for problem in caught.value.problems]
    assert places == ["chosen_ratings.Saftey", "objective_votes.brevity"]
    assert "Did you mean 'safety'? Allowed: safety, style." in caught.value.problems[0].reason
    assert "Did you mean" not in caught.value.problems[1].reason


def test_role_of_other_formats_is_translated_in_the_message():
    row = {"prompt": [{"role": "human", "content": "hi"}], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    with pytest.raises(InvalidRowError, match="Use 'user' for it"):
        parse_row(row)


HALF = "half \ud800"


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"chosen_ratings": {HALF: 1}}, ("chosen_ratings", "invalid Unicode")),
        ({"objective_votes": {HALF: 1}}, ("objective_votes", "invalid Unicode")),
        ({"judgments": [{"preference": 1, "annotator": HALF}]}, ("judgments[0].annotator", "invalid Unicode")),
        ({"tools": [{"name": HALF}]}, ("tools[0].name", "invalid Unicode")),
        ({"chat_template_kwargs": {HALF: 1}}, ("chat_template_kwargs", "invalid Unicode")),
        ({"chat_template_kwargs": {"a": [math.nan]}}, ("chat_template_kwargs.a[0]", "not finite")),
        ({"chat_template_kwargs": {"a": b"x"}}, ("chat_template_kwargs.a", "wrong type")),
        ({"tools": [{5: "x"}]}, ("tools[0]", "wrong type")),
        ({"tools": "[" * 300 + "]" * 300}, ("tools", "invalid JSON")),
    ],
)
def test_names_and_arguments_of_templates_are_what_json_can_hold(columns, problem):
    assert problems_of(pair(**columns)) == [problem]


def test_what_else_a_message_holds_is_what_json_can_hold():
    messages = [assistant("Oak.") | {"tool_calls": [{"function": {"arguments": HALF}}]}]
    row = {"prompt": [USER], "chosen": messages, "rejected": [assistant("Granite.")]}
    assert problems_of(row)[0] == ("chosen[0].tool_calls[0].function.arguments", "invalid Unicode")
