"""Numbers, labels and times as people write them, and what is said where they cannot be read."""

import numpy as np
import pytest
from test_csv import field, opened

from fmlab.errors import DataError

ROLES = {"user": "u", "item": "i", "label": "y"}


def labels(root, values, **options):
    text = "u,i,y\n" + "".join(f'{n},i{n % 3},"{v}"\n' for n, v in enumerate(values))
    return opened(root, text, **{**ROLES, **options})


def column(root, values, **options):
    text = "u,i,y,x\n" + "".join(f'{n},i{n % 3},{n % 2},"{v}"\n' for n, v in enumerate(values))
    return opened(root, text, **{**ROLES, "standardize": False, **options})


@pytest.mark.parametrize(
    "values",
    [("True", "False"), ("true", "FALSE"), ("t", "F"), ("yes", "no"), ("Y", "n"), ("true", "0"), ("yes", "False")],
)
def test_words_for_yes_and_no_are_labels(tmp_path, values):
    assert labels(tmp_path, values).label.tolist() == [1, 0]


def test_it_is_said_what_words_are_taken_for(tmp_path, caplog):
    caplog.set_level("INFO")
    labels(tmp_path, ("yes", "No", "yes"))
    assert "column 'y' holds words as labels: 'yes' is 1, 'No' is 0" in caplog.text
    caplog.clear()
    labels(tmp_path, ("1", "0", "2.5"))
    labels(tmp_path, ("buy", "skip"), positive="buy")
    assert "words as labels" not in caplog.text


@pytest.mark.parametrize("share", [2, 100])
def test_infinite_numbers_are_refused_however_many_they_are(tmp_path, share):
    values = ["inf" if n % share == 1 else n + 0.5 for n in range(200)]
    with pytest.raises(DataError, match=r"'x' must hold finite numbers.*'inf'; \"data\.na_values=\['inf'\]\" takes"):
        column(tmp_path, values)
    assert field(column(tmp_path, values, na_values=("inf",)), "x")[:3] == [0.5, None, 2.5]


ALIKE = {
    "zeros": (("007", "7"), "user: '007' and '7' differ"),
    "fractions": (("7", "8", "7.0"), "user: '7' and '7.0' differ"),
    "blanks": (("a ", "a"), "user: 'a ' and 'a' differ"),
    "accents": (("cafe\u0301", "caf\u00e9"), "differ by blanks, zeros or the writing of accents alone"),
    "several": (("1", "01", "2", "02"), "'1' and '01' differ by .* told apart; 2 such groups"),
    "none": (("10", "1", "0", "1.5", "1.50", "A", "a", "100"), ""),
}


@pytest.mark.parametrize("case", ALIKE)
def test_ids_that_look_alike_are_told_apart_and_this_is_said(tmp_path, caplog, case):
    import re

    values, said = ALIKE[case]
    text = "u,i,y\n" + "".join(f'"{v}",i{n % 3},{n % 2}\n' for n, v in enumerate(values))
    assert opened(tmp_path, text, **ROLES).schema.n_users == len(values)
    assert re.search(said, caplog.text) if said else "told apart" not in caplog.text


def test_one_user_is_said_without_advice_to_leave_it_out(tmp_path, caplog):
    opened(tmp_path, "u,i,y,x\n1,a,1,p\n1,b,0,p\n", **ROLES)
    assert "user: the same in all rows" in caplog.text
    assert "x: one value in all rows where there is any; drop_columns=" in caplog.text


@pytest.mark.parametrize(
    ("values", "positive", "expected"),
    [
        (("buy", "skip", "view"), "buy", [1, 0, 0]),
        (("yes", "no"), "no", [0, 1]),
        (("True", "no"), True, [1, 0]),
        (("5", "4.0", "4"), 4, [0, 1, 1]),
    ],
)
def test_the_positive_text_is_named(tmp_path, values, positive, expected):
    assert labels(tmp_path, values, positive=positive).label.tolist() == expected


BAD_LABELS = {
    "two texts": (("buy", "skip", "buy"), {}, "positive=buy or positive=skip names the one that is 1"),
    "three texts": (("a", "b", "c"), {}, "positive=<text> names the text that is 1"),
    "word and number": (("yes", "5"), {}, "mixes 'yes' and '5'.*positive=<text>"),
    "true and number": (("true", "5"), {}, "mixes 'true' and '5'"),
    "positive not there": (
        ("buy", "skip"),
        {"positive": "by"},
        "no row .* has the positive label 'by'; .*'buy', 'skip'",
    ),
    "missing": (("1", "", "0"), {}, r"'y' must have a label in every row; 1 do not, .*data rows 2; unlabeled=drop"),
    "NA": (("1", "NA", "?"), {}, r"data row 2: 'NA', '\?'; \"data\.na_values=\[NA,'\?'\]\" takes"),
    "NA among words": (("yes", "-", "no"), {}, r"na_values=\['-'\]\" takes"),
    "a text that Hydra reads as a number": (("1", "NaN", "0"), {}, r"\"data\.na_values=\['NaN'\]\" takes"),
    "infinite": (("1", "-Infinity", "1e400"), {}, r"'-Infinity', '1e400'; \"data\.na_values=\['-Infinity','1e400'\]\""),
    "a unit": (("10%", "20%"), {}, "'20%'; numbers have no unit: write '10%' as 10$"),
    "a sign of money": (("$1,5", "€ 2,5"), {"decimal": ","}, "write '.1,5' as 1,5$"),
    "quantities": (("4 stars", "3 stars"), {}, "'4 stars', '3 stars'$"),
    "another minus": (("\u22121", "1"), {}, r"the minus sign is '-', '.1' has another one \(U\+2212\)"),
    "two texts with blanks": (("did buy", "did not"), {}, "positive='did buy' or positive='did not' names"),
    "none left": (("", ""), {"unlabeled": "drop"}, "no row has a label in column 'y': unlabeled=drop leaves none"),
    "thousands": (("1,001", "999"), {}, "thousands=',' reads '1,001' as 1001"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_are_none_are_explained(tmp_path, case):
    values, options, said = BAD_LABELS[case]
    with pytest.raises(DataError, match=said):
        labels(tmp_path, values, **options)


def test_labels_whose_squares_overflow_are_refused_with_their_rows(tmp_path):
    with pytest.raises(DataError, match=r"'y' must have labels within 1e150 of 0; 1 do not, the first are data rows 2"):
        opened(tmp_path, "u,i,y\na,b,1\nc,d,-1e308\n", user="u", item="i", label="y")


def test_rows_without_a_label_are_dropped_and_counted(tmp_path, caplog):
    data = labels(tmp_path, ["1", "", "0", "N/A", "1"], unlabeled="drop", na_values=("N/A",))
    assert (data.label.tolist(), field(data, "user")) == ([1, 0, 1], ["0", "2", "4"])
    assert data.steps[-1].name == "2 rows without a label left out"


def test_dropped_rows_are_in_no_count_and_no_interval(tmp_path):
    text = "u,i,y,x,g\n" + "".join(f"{n},a,{'' if n > 5 else 1},{n},g{n}\n" for n in range(20))
    data = opened(tmp_path, text, **ROLES, unlabeled="drop", quantile_bins=("x",), n_bins=2, categorical=("g",))
    assert set(field(data, "x")) == {"[, 3)", "[3, )"}
    assert data.keys["g"].tolist() == [f"g{n}" for n in range(6)]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (("1,001", "999", "1,234,567.5"), {"thousands": ","}, [1001, 999, 1234567.5]),
        (("1.001", "999", "1.234.567,5"), {"thousands": ".", "decimal": ","}, [1001, 999, 1234567.5]),
        (("1 001", "1\u00a0002", "-1\u202f003,5"), {"thousands": " ", "decimal": ","}, [1001, 1002, -1003.5]),
        (("1'001", "1\u2019002.5"), {"thousands": "'"}, [1001, 1002.5]),
        (("12,34,567", "1"), {"thousands": ","}, [1234567, 1]),
        (("True", "false", ""), {}, [1, 0, None]),
    ],
)
def test_numbers_have_the_signs_that_are_given(tmp_path, values, options, expected):
    assert field(column(tmp_path, values, numeric=("x",), **options), "x") == expected


@pytest.mark.parametrize("values", [("1,5", "2"), ("1,0012", "2"), ("1,,001", "2"), (",001", "2")])
def test_a_sign_of_thousands_at_another_place_makes_no_number(tmp_path, values):
    with pytest.raises(DataError, match="'x' must hold finite numbers, 1 values are none"):
        column(tmp_path, values, numeric=("x",), thousands=",")


HINTS = {
    "thousands": (("1,001", "999"), {}, "thousands=',' reads '1,001' as 1001"),
    "thousands of Switzerland": (("1'001", "999"), {}, 'thousands="\'" reads'),
    "thousands of Germany": (("1.001,5", "2,25"), {"decimal": ","}, r"thousands='\.' reads '1\.001,5'"),
    "decimal": (("1,5", "2,25"), {}, r"is the decimal sign ','\? decimal=','"),
    "decimal, three digits": (("0,125", "1,500"), {}, r"is the decimal sign ','\? decimal=','"),
    "nothing": (("1", "n/a", "--", " "), {}, r"na_values=\[n/a,'--',' '\]"),
    "nothing, and decimal": (("1,5", "NA"), {}, r"na_values=\[NA\] .*, and is the decimal sign ','"),
}


@pytest.mark.parametrize("case", HINTS)
def test_texts_among_numbers_are_advised_about(tmp_path, case):
    values, options, said = HINTS[case]
    with pytest.raises(DataError, match=said):
        column(tmp_path, values, numeric=("x",), **options)


GUESSES = {
    "thousands": (("1,001", "999"), "x is taken for categories, and looks like numbers: thousands=','"),
    "nothing": (("1.5", "NA", "2.5", "?"), r"holds numbers but for 'NA', '\?': \"data\.na_values=\[NA,'\?'\]\" makes"),
    "units": (("10%", "5.5 %"), "x is taken for categories, and holds numbers with a unit: '10%' written as 10"),
    "decimal": (("1,5", "2,25"), "x are taken for categories, and look like numbers with the decimal sign ','"),
}


@pytest.mark.parametrize("case", GUESSES)
def test_categories_that_would_be_numbers_are_told(tmp_path, caplog, case):
    import re

    values, said = GUESSES[case]
    column(tmp_path, values)
    assert re.search(said, caplog.text)


def test_na_values_are_missing_in_fields_and_users_keep_them(tmp_path):
    assert field(column(tmp_path, ("1.5", "NA", "2.5"), na_values=("NA",)), "x") == [1.5, None, 2.5]
    data = opened(tmp_path, "u,i,y,x\nNA,a,1,NA\n2,b,0,q\n", **ROLES, na_values=("NA",))
    assert (field(data, "user"), field(data, "x")) == (["NA", "2"], [None, "q"])


FROM_0 = ("1970-02-27T20:53:20", "1970-06-23T14:40")
TIMES = {
    "digits": (("20140101", "20151231"), {}, ["2014-01-01", "2015-12-31"]),
    "digits with the hour": (("2014010112", "2014010113"), {}, ["2014-01-01T12", "2014-01-01T13"]),
    "digits with minutes": (("201401011230", "201401011231"), {}, ["2014-01-01T12:30", "2014-01-01T12:31"]),
    "digits with seconds": (("20140101123059", "20140101123100"), {}, ["2014-01-01T12:30:59", "2014-01-01T12:31"]),
    "milliseconds from 0": (("0", "5000000000", "15000000000"), {}, ["1970-01-01", *FROM_0]),
    "milliseconds, said": (("0", "86400000"), {"time_unit": "ms"}, ["1970-01-01", "1970-01-02"]),
    "seconds, said": (("20140101", "20140131"), {"time_unit": "s"}, ["1970-08-22T02:28:21", "1970-08-22T02:28:51"]),
    "ISO 8601, basic": (("20140101T1011Z", "20140101T101113+0100"), {}, ["2014-01-01T10:11", "2014-01-01T09:11:13"]),
    "ISO 8601, week": (("2014-W01-1", "2014-01-05"), {}, ["2013-12-30", "2014-01-05"]),
    "ISO 8601, month": (("2014-01", "2014-02"), {}, ["2014-01-01", "2014-02-01"]),
    "ISO 8601, comma": (("2014-01-01T10:00:00,5Z", "2014-01-01T10Z"), {}, ["2014-01-01T10:00:00.5", "2014-01-01T10"]),
    "blank before the zone": (
        ("2014-01-01 10:00 UTC", "2014-01-01 10:00 +0200"),
        {},
        ["2014-01-01T10", "2014-01-01T08"],
    ),
    "slashes": (("2014/01/01", "2014/1/2 10:11"), {}, ["2014-01-01", "2014-01-02T10:11"]),
}


@pytest.mark.parametrize("case", TIMES)
def test_times_are_read_as_they_are_written(tmp_path, case):
    values, options, expected = TIMES[case]
    found = column(tmp_path, values, time="x", **options).time
    assert found.tolist() == [int(np.datetime64(t, "us").astype(np.int64)) for t in expected]


def test_a_unit_that_later_rows_tell_holds_for_the_first(tmp_path, monkeypatch):
    from fmlab.data.encoding import dataset_encoding as prepare
    from fmlab.data.raw import table as tabular

    monkeypatch.setattr(tabular.batches, "__defaults__", (tabular.ignore_bytes, 100, (), ()))
    monkeypatch.setattr(prepare, "TEXT", 50)
    values = [n * 200_000_000 for n in range(100)]
    assert column(tmp_path, values, time="x").time.tolist() == [v * 1000 for v in values]
    hours = column(tmp_path, values, time="x", time_features=("hour",))
    assert field(hours, "hour") == [str(v // 3_600_000 % 24) for v in values]
    assert hours.inputs["hour"].time_format == "ms"


MIXED = {
    "dates and seconds": (("20140101", "1400000000"), "mixes dates of digits, 20140101, and other numbers, 1400000000"),
    "dates and none": (("20140101", "20149999"), "mixes dates of digits, .*20149999"),
    "dates and 0": (("20140101", "0"), r"mixes dates of digits.*na_values=\['0'\]"),
    "zones": (("2014-01-01T00:00", "2014-01-01T00:00Z"), "some have a zone and some have none"),
    "ISO and seconds": (("2014-01-01", "1400000000"), "must hold seconds, milliseconds, or ISO 8601"),
    "day and month": (("01/02/2014", "02/02/2014"), "which of day and month comes first.*write them as 2014-01-31"),
    "nothing": (("2014-01-01", "NA"), r"na_values=\[NA\]"),
}


@pytest.mark.parametrize("case", MIXED)
def test_times_of_several_kinds_are_not_mixed(tmp_path, case):
    values, said = MIXED[case]
    with pytest.raises(DataError, match=said):
        column(tmp_path, values, time="x")


def test_a_field_of_the_time_stands_beside_a_column_of_that_name(tmp_path, caplog):
    rows = "1,a,1,1600000000,h1\n2,b,0,1600003600,h2\n"
    data = opened(tmp_path, f"u,i,y,x,hour\n{rows}", **ROLES, time="x", time_features=("hour",))
    assert (field(data, "hour"), field(data, "x_hour")) == (["h1", "h2"], ["12", "13"])
    ignored = opened(
        tmp_path, f"u,i,y,x,hour\n{rows}", **ROLES, time="x", time_features=("hour",), drop_columns=("hour",)
    )
    assert field(ignored, "hour") == ["12", "13"]
    itself = opened(tmp_path, f"u,i,y,hour,g\n{rows}", **ROLES, time="hour", time_features=("hour",))
    assert field(itself, "hour_hour") == ["12", "13"]
    rows = "1,a,1,1600000000,h1,1\n2,b,0,1600003600,h2,2\n"
    with pytest.raises(DataError, match="would be a second column 'x_hour'"):
        opened(tmp_path, f"u,i,y,x,hour,x_hour\n{rows}", **ROLES, time="x", time_features=("hour",))


@pytest.mark.parametrize("kind", ["numeric", "multi_valued", "log_squared", "quantile_bins"])
@pytest.mark.parametrize("role", ["user", "item", "label"])
def test_an_option_that_names_the_column_of_a_role_is_refused(tmp_path, kind, role):
    with pytest.raises(DataError, match=f"was given two: {role}={ROLES[role]} and {kind}={ROLES[role]}"):
        column(tmp_path, ("1", "2"), **{kind: (ROLES[role],)})


def test_a_list_of_all_categories_may_name_the_ids(tmp_path):
    assert column(tmp_path, ("p", "q"), categorical=("u", "i", "x")).rows == 2


@pytest.mark.parametrize(
    "name", ["price [USD] (net)", "größe 名", "a b", "x.y", "part ", "it's", "50%", "[bold]x[/bold]"]
)
def test_any_name_of_a_column_is_a_name(tmp_path, name):
    data = opened(
        tmp_path, f'u,i,y,"{name}"\n1,a,1,1.5\n2,b,0,2.5\n', **ROLES, numeric=(name.strip(),), standardize=False
    )
    assert field(data, name.strip()) == [1.5, 2.5]


def test_items_alone_are_no_rows(tmp_path):
    text = "i,y,x\n" + "".join(f"i{n % 5},{n % 2},x{n % 5}\n" for n in range(20))
    with pytest.raises(DataError, match=r"a row has a user, a context, or both, .*context_fields=\[\.\.\.\] keeps"):
        opened(tmp_path, text, item="i", label="y")
    assert opened(tmp_path, text, item="i", label="y", context_fields=("x",), on_leak="allow").rows == 20
