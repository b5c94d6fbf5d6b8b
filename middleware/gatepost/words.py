"""The sentences that the pages say for each reason, marked for translation. Templates hold the rest of the words."""

from __future__ import annotations

from .protocols import Reason


def _(text: str) -> str:
    """Marks a text for extraction; the template translates it."""
    return text


#: Why there is a new challenge.
NOTICES = {
    # Translators: all that is to be answered is called a question, a picture and a recording as well.
    Reason.WRONG: _("That was not the right answer. Here is a new question. Nothing that you sent is lost."),
    Reason.TOO_FAST: _(
        "That came faster than a person can answer. Here is a new question. Nothing that you sent is lost."
    ),
    Reason.EXPIRED: _("The time for that answer had run out. Here is a new question. Nothing that you sent is lost."),
    Reason.USED: _("That question has been answered before. Here is a new one. Nothing that you sent is lost."),
    Reason.OUTDATED: _("This site has changed in the meantime. Here is a new question. Nothing that you sent is lost."),
    Reason.RESTARTED: _("This site was restarted in the meantime. What you sent is still here."),
    Reason.BUSY: _("So many forms are coming in that there are no questions left at the moment."),
    Reason.ISSUE_LIMIT: _("You have been given many questions in a short time."),
    Reason.STORE_AWAY: _("This site cannot check answers at the moment."),
    Reason.FAILURE_LIMIT: _("There were too many wrong answers in a short time."),
}

#: Titles of the pages without a challenge.
TITLES = {
    Reason.FORGED: _("This could not be read"),
    Reason.FOREIGN: _("This came from another page"),
    Reason.CONTENT_TYPE: _("This form cannot be accepted"),
    Reason.TOO_SLOW: _("The connection was too slow"),
    Reason.OVERLOADED: _("Too much at once"),
    Reason.ALREADY_SENT: _("Already sent"),
    Reason.ENDED: _("This page is too old"),
    Reason.LOST: _("Please send the form again"),
    Reason.NOT_KEPT: _("Please send the form again"),
}

#: What to do.
DETAILS = {
    Reason.FORGED: _("What arrived is incomplete or was changed on the way. Go back to the form and send it again."),
    Reason.FOREIGN: _(
        "The answer did not come from the page that asked for it. Go back to the form and send it again."
    ),
    Reason.CONTENT_TYPE: _("It was not sent in the way that forms are sent. Go back to the form and send it again."),
    Reason.TOO_SLOW: _("What you sent did not arrive in time. Go back to the form and send it again."),
    Reason.OVERLOADED: _(
        "This site is taking in as much as it can. Wait a little, then go back to the form and send it again."
    ),
    Reason.ALREADY_SENT: _("What you sent has arrived. There is nothing more to do, and it was not sent twice."),
    Reason.ENDED: _(
        "What you sent was kept for as long as possible, but that time is over. Go back to the form and send it again."
    ),
    Reason.LOST: _("What you sent is not here any more. Go back to the form and send it again."),
    Reason.NOT_KEPT: _("What you sent was too large to be kept. Go back to the form and send it again."),
}

#: The button that changes to another kind, by the kind's name; others are called by their name.
KIND_WORDS = {
    # Translators: a button.
    "image": _("A picture instead"),
    # Translators: a button.
    "audio": _("A recording instead"),
    # Translators: a button.
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
        "label": _("What you hear"),
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

#: The label for a recording of digits alone.
DIGITS_HEARD = _("The digits that you hear")

#: What programs are told to do, with a challenge and without.
ANSWER_BY_HEADER = _(
    "Send the same request again with the token in 'Gatepost-Token' and the answer, percent-encoded as UTF-8, in "
    "'Gatepost-Answer'."
)
CONTINUE_BY_HEADER = _(
    "No question can be asked at the moment. Send the same request again after 'retry_after' seconds, with the "
    "token in 'Gatepost-Token'."
)

# Translators: a size in bytes.
BYTES = _("%(count)s B")
# Translators: a size in kilobytes.
KILOBYTES = _("%(count)s kB")
# Translators: a size in megabytes, with your decimal mark.
MEGABYTES = _("%(whole)s.%(tenth)s MB")
