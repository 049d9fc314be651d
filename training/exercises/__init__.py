"""One module for each exercise of the teaching documents this project starts from.

A module has `TITLE`, one line, and `run(options) -> Result`. It does what its document does with the document's
own data and settings, shows the document's published figures beside it, and then what a recurrent network can do
when it is trained well, next to baselines that are not networks and the noise floor where there is one.
"""

from __future__ import annotations

EXERCISES = {
    "sine-rnn": "A 2-layer RNN on a noisy sine: the next value, then fifty fed back.",
    "sine-lstm": "The lookback LSTM forecaster on a sine.",
    "biomed-pipeline": "Load, clean, normalise, window, train three cells of four sizes, on a real signal.",
    "char-rnn": "The next character of a text; the same on beats.",
    "imdb": "The sentiment of film reviews, by a plain RNN and an LSTM.",
    "long-memory": "A slow and a fast sine: what six steps cannot hold.",
    "spikes": "Windows with and without a spike, told apart by three cells.",
}
"""Name -> one line for the list; the module is the name with underscores."""
