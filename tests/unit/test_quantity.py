import pytest

from katgen.quantity import cpu_milli, cpu_text, memory_bytes, memory_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1000),
        ("0", 0),
        ("250m", 250),
        ("0.5", 500),
        (".5", 500),
        ("1.", 1000),
        ("+2", 2000),
        ("1e3", 1_000_000),
        ("1E-3", 1),
        ("2k", 2_000_000),
        ("1n", 1),
        ("0.0001", 1),
    ],
)
def test_cpu_is_read_in_thousandths_rounded_up(text: str, expected: int) -> None:
    assert cpu_milli(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("128Mi", 134_217_728),
        ("128M", 128_000_000),
        ("1.5Gi", 1_610_612_736),
        ("2k", 2000),
        ("1Ki", 1024),
        ("1E", 10**18),
        ("1e3", 1000),
        ("1000m", 1),
        ("100m", 1),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_memory_is_read_in_bytes_rounded_up(text: str, expected: int) -> None:
    assert memory_bytes(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "-1", "1 Gi", "1gb", "1GB", "1ki", "0x10", "1e", "1e100", "٣", "1" * 41, "inf", "1\n"],
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity; write a number with an optional suff"):
        memory_bytes(text)


@pytest.mark.parametrize("text", ["8Ei", "9223372036854775808", "1e19"])
def test_what_no_machine_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is larger than any machine; the largest is 2"):
        memory_bytes(text)


@pytest.mark.parametrize(("milli", "expected"), [(0, "0"), (250, "250m"), (2000, "2"), (1, "1m")])
def test_cpu_is_shown_as_short_as_possible(milli: int, expected: str) -> None:
    assert cpu_text(milli) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0"),
        (1000, "1000"),
        (1024, "1Ki"),
        (1536, "1536"),
        (2**30, "1Gi"),
        (3 * 2**29, "1536Mi"),
    ],
)
def test_memory_is_shown_as_short_as_is_exact(size: int, expected: str) -> None:
    assert memory_text(size) == expected
