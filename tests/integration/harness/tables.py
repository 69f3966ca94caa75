"""A console's answer by its columns' names."""


def columns(answer):
    """(name, type's number) of each column."""
    assert not answer.error, answer.error
    description = next(one for one in answer.messages if one.tag == "T")
    found, at = [], 2
    for _ in range(int.from_bytes(description.body[:2], "big")):
        end = description.body.index(b"\0", at)
        number = int.from_bytes(description.body[end + 7 : end + 11], "big")
        found.append((description.body[at:end].decode(), number))
        at = end + 19
    return found


def table(answer):
    """Rows as dictionaries by column name."""
    names = [name for name, _ in columns(answer)]
    return [dict(zip(names, row)) for row in answer.rows]
