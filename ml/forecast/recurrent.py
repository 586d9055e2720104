"""The global LSTM (neuralforecast). Filled in next."""


class Recurrent: ...


def fit_recurrent(*a):
    return None


def update_recurrent(*a):
    return None
