"""The sentences that the pages say for each reason, marked for translation. Templates hold the rest of the words."""

from __future__ import annotations

from .protocols import Reason


def _(text: str) -> str:
    """Marks a text for extraction; the template translates it."""
    return text


#: Why there is a new challenge.
NOTICES = {
    Reason.WRONG: _("That was not the answer. Here is a new one; nothing of what you sent is lost."),
    Reason.TOO_FAST: _("That was faster than a person reads. Here is a new one; nothing of what you sent is lost."),
    Reason.EXPIRED: _("The time for that answer was over. Here is a new one; nothing of what you sent is lost."),
    Reason.USED: _("That one had been answered before. Here is a new one; nothing of what you sent is lost."),
    Reason.OUTDATED: _("The site was changed meanwhile. Here is a new one; nothing of what you sent is lost."),
    Reason.RESTARTED: _("The site was restarted meanwhile. What you sent is still here."),
    Reason.BUSY: _("There are more forms than there are questions to ask right now."),
    Reason.ISSUE_LIMIT: _("You were given many questions in a short time."),
    Reason.STORE_AWAY: _("The site cannot check answers at the moment."),
    Reason.FAILURE_LIMIT: _("There were too many wrong answers in a short time."),
}

#: Titles of the pages without a challenge.
TITLES = {
    Reason.FORGED: _("This could not be read"),
    Reason.FOREIGN: _("This came from another place"),
    Reason.CONTENT_TYPE: _("This form cannot be taken"),
    Reason.TOO_SLOW: _("The connection was too slow"),
    Reason.OVERLOADED: _("Too much at once"),
    Reason.ALREADY_SENT: _("Already sent"),
    Reason.ENDED: _("This page is too old"),
    Reason.LOST: _("Please send the form again"),
    Reason.NOT_KEPT: _("Please send the form again"),
}

#: What to do.
DETAILS = {
    Reason.FORGED: _("What arrived is incomplete or was altered. Go back to the form and send it again."),
    Reason.FOREIGN: _(
        "The answer did not come from the page that asked for it. Go back to the form and send it again."
    ),
    Reason.CONTENT_TYPE: _(
        "The kind of content was given twice or is too long. Go back to the form and send it again."
    ),
    Reason.TOO_SLOW: _("What you sent did not arrive in time. Go back to the form and send it again."),
    Reason.OVERLOADED: _("The site is taking in as much as it can. Wait a little, go back and send the form again."),
    Reason.ALREADY_SENT: _("What you sent has arrived. There is nothing more to do, and it was not sent twice."),
    Reason.ENDED: _("It was kept for as long as it could be. Go back to the form and send it again."),
    Reason.LOST: _("What you sent could not be kept until now. Go back to the form and send it again."),
    Reason.NOT_KEPT: _("What you sent was too large to keep. Go back to the form and send it again."),
}

#: The button that changes to another kind, by the kind's name; others are called by their name.
KIND_WORDS = {
    "image": _("A picture instead"),
    "audio": _("A recording instead"),
    "question": _("A question instead"),
}

#: By the first part of the media type: the field's label, what stands for the picture, and the button for another.
WORDS_BY_MEDIA = {
    "image": {
        "label": _("Characters in the picture, line by line"),
        "alternative": _("A picture of distorted letters and digits, to be typed into the field below"),
        "another": _("Another picture"),
        "question": "",
    },
    "audio": {
        "label": _("The digits that you hear"),
        "alternative": _("A recording to listen to; type what is said into the field below"),
        "another": _("Another recording"),
        "question": "",
    },
    "text": {
        "label": _("Your answer"),
        "alternative": "",
        "another": _("Another question"),
        "question": "",
    },
}
