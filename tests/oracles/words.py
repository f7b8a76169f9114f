"""How systemd splits a command line, as far as it decides where a command ends.

systemd.service(5), COMMAND LINES.
"""

import re

# A word: runs of quoted text, escapes and plain characters. Only a bare `;` separates commands.
WORD = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.|[^\s"'\\])+""", re.DOTALL)


def commands_in(line: str) -> list[list[str]]:
    """Return the commands of an Exec line, each as its raw words.

    An unbalanced quote ends the reading early, as it does in systemd: no command comes back then.
    """
    rest = WORD.sub("", line).strip()
    if rest:
        return []
    commands: list[list[str]] = [[]]
    for word in WORD.findall(line):
        if word == ";":
            commands.append([])
        else:
            commands[-1].append(word)
    return [command for command in commands if command]
