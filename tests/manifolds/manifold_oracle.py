"""Curved geometry with 60 digits, straight from the definitions: the hyperboloid and the sphere in ambient coordinates,
and the Möbius formulas of HyperML (equations 5 to 10) as printed. Vectors are lists of mpf."""

from mpmath import acosh, atan2, atanh, cos, cosh, mp, mpf, sin, sinh, sqrt, tanh

mp.dps = 60


def vec(tensor):
    return [mpf(float(a)) for a in tensor]


def add(a, b):
    return [p + q for p, q in zip(a, b, strict=True)]


def times(s, a):
    return [s * p for p in a]


def dot(a, b):
    return sum((p * q for p, q in zip(a, b, strict=True)), mpf(0))


def size(a):
    return sqrt(dot(a, a))


class Hyperboloid:
    """`-v0^2 + |v|^2 = -1/c`. Points and vectors are given and returned by their space parts."""

    def __init__(self, c=1):
        self.c = mpf(c)

    def lift(self, v):
        return [sqrt(1 / self.c + dot(v, v)), *v]

    def lift_tangent(self, v, u):
        return [dot(v, u) / self.lift(v)[0], *u]

    @staticmethod
    def product(a, b):
        return dot(a[1:], b[1:]) - a[0] * b[0]

    def dist(self, x, y):
        return acosh(max(mpf(1), -self.c * self.product(self.lift(x), self.lift(y)))) / sqrt(self.c)

    def inner(self, x, u, w):
        return self.product(self.lift_tangent(x, u), self.lift_tangent(x, w))

    def exp(self, x, u):
        n = sqrt(self.c * self.inner(x, u, u))
        return times(cosh(n), x) if n == 0 else add(times(cosh(n), x), times(sinh(n) / n, u))

    def log(self, x, y):
        n = sqrt(self.c) * self.dist(x, y)
        return times(mpf(0), x) if n == 0 else times(n / sinh(n), add(y, times(-cosh(n), x)))

    def transport(self, x, y, u):
        big_x, big_y, big_u = self.lift(x), self.lift(y), self.lift_tangent(x, u)
        factor = self.product(big_y, big_u) / (1 / self.c - self.product(big_x, big_y))
        return add(big_u, times(factor, add(big_x, big_y)))[1:]

    def ambient_gradient(self, x, partials):
        """LorentzFM, equation 12: partials in all K coordinates, times the metric, projected on the tangent space."""
        big_x, h = self.lift(x), [-partials[0], *partials[1:]]
        return add(h, times(self.c * self.product(big_x, h), big_x))[1:]


class Globe:
    """The sphere of radius `1 / sqrt(k)` in ambient coordinates, projected from the pole opposite the origin."""

    def __init__(self, k):
        self.k = mpf(k)

    def lift(self, x):
        """Unit vector."""
        n = self.k * dot(x, x)
        return [(1 - n) / (1 + n), *times(2 * sqrt(self.k) / (1 + n), x)]

    def lift_tangent(self, x, u):
        """The derivative of `lift` along u."""
        n, xu = self.k * dot(x, x), self.k * dot(x, u)
        space = add(times(1 / (1 + n), u), times(-2 * xu / (1 + n) ** 2, x))
        return [-4 * xu / (1 + n) ** 2, *times(2 * sqrt(self.k), space)]

    def lower(self, a):
        return times(1 / (sqrt(self.k) * (1 + a[0])), a[1:])

    def lower_tangent(self, a, t):
        """The derivative of `lower` along t."""
        both = add(times(1 / (1 + a[0]), t[1:]), times(-t[0] / (1 + a[0]) ** 2, a[1:]))
        return times(1 / sqrt(self.k), both)

    def dist(self, x, y):
        a, b = self.lift(x), self.lift(y)
        return 2 * atan2(size(add(a, times(-1, b))), size(add(a, b))) / sqrt(self.k)

    def inner(self, x, u, w):
        return dot(self.lift_tangent(x, u), self.lift_tangent(x, w)) / self.k

    def exp(self, x, u):
        a, t = self.lift(x), self.lift_tangent(x, u)
        n = size(t)
        return x if n == 0 else self.lower(add(times(cos(n), a), times(sin(n) / n, t)))

    def log(self, x, y):
        a, b = self.lift(x), self.lift(y)
        away = add(b, times(-dot(a, b), a))
        return self.lower_tangent(a, times(sqrt(self.k) * self.dist(x, y) / size(away), away))

    def transport(self, x, y, u):
        a, b, t = self.lift(x), self.lift(y), self.lift_tangent(x, u)
        return self.lower_tangent(b, add(t, times(-dot(b, t) / (1 + dot(a, b)), add(a, b))))


class Ball:
    def __init__(self, c):
        self.c = mpf(c)

    def conformal(self, x):
        return 2 / (1 - self.c * dot(x, x))

    def add(self, x, y):
        c, xy, xx, yy = self.c, dot(x, y), dot(x, x), dot(y, y)
        top = add(times(1 + 2 * c * xy + c * yy, x), times(1 - c * xx, y))
        return times(1 / (1 + 2 * c * xy + c**2 * xx * yy), top)

    def scale(self, r, x):
        n = sqrt(self.c) * size(x)
        return times(tanh(r * atanh(n)) / n, x)

    def dist(self, x, y):
        return 2 / sqrt(self.c) * atanh(sqrt(self.c) * size(self.add(times(-1, x), y)))

    def inner(self, x, u, w):
        return self.conformal(x) ** 2 * dot(u, w)

    def exp(self, x, u):
        n = size(u)
        if n == 0:
            return x
        return self.add(x, times(tanh(sqrt(self.c) * self.conformal(x) * n / 2) / (sqrt(self.c) * n), u))

    def log(self, x, y):
        m = self.add(times(-1, x), y)
        n = size(m)
        return times(2 / (self.conformal(x) * sqrt(self.c)) * atanh(sqrt(self.c) * n) / n, m)

    def transport(self, x, y, u):
        """Gyration by its definition; it is linear, so `u` may be shrunk into the ball first."""
        a, b, small = y, times(-1, x), mpf(10) ** -20 / size(u)
        turned = self.add(times(-1, self.add(a, b)), self.add(a, self.add(b, times(small, u))))
        return times(self.conformal(x) / self.conformal(y) / small, turned)


def relative(exact, x, got, expected):
    """Length of the error of a vector at `x`, over the length of the expected one."""
    error = add(got, times(-1, expected))
    return sqrt(exact.inner(x, error, error) / exact.inner(x, expected, expected))
