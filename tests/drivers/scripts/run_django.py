"""Django's ORM: migrations forward and back, atomic blocks, row locks, server-side cursors, deferred
constraints, and its connections both persistent and new for each piece of work."""

import asyncio
import datetime
import sys

import django
from django.conf import settings
from django.db import connection, connections, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import DataError, IntegrityError, OperationalError, ProgrammingError

host, port, database, user, password = sys.argv[1:]
PLACE = {
    "ENGINE": "django.db.backends.postgresql", "HOST": host, "PORT": port, "NAME": database,
    "USER": user, "PASSWORD": password,
}
settings.configure(
    DATABASES={
        "default": {**PLACE, "CONN_MAX_AGE": None},
        "other": {**PLACE, "CONN_MAX_AGE": 0, "OPTIONS": {"isolation_level": 3}},
        "plain": {**PLACE, "DISABLE_SERVER_SIDE_CURSORS": True, "ATOMIC_REQUESTS": True},
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.postgres"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True, TIME_ZONE="Europe/Berlin")
django.setup()

from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.contrib.postgres.aggregates import ArrayAgg  # noqa: E402
from django.contrib.postgres.fields import ArrayField  # noqa: E402
from django.core.management import call_command  # noqa: E402


class Team(models.Model):
    id = models.IntegerField(primary_key=True)
    name = models.TextField()

    class Meta:
        app_label, managed, db_table = "contenttypes", False, "team"


class Person(models.Model):
    id = models.IntegerField(primary_key=True)
    name = models.TextField()
    score = models.DecimalField(max_digits=8, decimal_places=2)
    born = models.DateField()
    tags = ArrayField(models.TextField())
    data = models.JSONField()
    team = models.ForeignKey(Team, models.DO_NOTHING, related_name="persons")

    class Meta:
        app_label, managed, db_table = "contenttypes", False, "person"


class Scratch(models.Model):
    id = models.IntegerField(primary_key=True)
    note = models.TextField(null=True)

    class Meta:
        app_label, managed, db_table = "contenttypes", False, "scratch"


def show(what, value=""):
    print(f"{what}: {value}")


def failing(what, run):
    try:
        run()
    except (DataError, IntegrityError, OperationalError, ProgrammingError) as error:
        show(f"{what}, {type(error).__name__}", error.__cause__.pgcode)


def migrate():
    call_command("migrate", verbosity=0)
    call_command("migrate", verbosity=0)
    executor = MigrationExecutor(connection)
    show("migrated", len(executor.loader.applied_migrations))
    show("tables", [name for name in sorted(connection.introspection.table_names())
                    if name.startswith(("auth_", "django_"))])
    show("permissions", list(Permission.objects.order_by("codename").values_list("codename", flat=True)[:4]))


def reads(alias):
    people = Person.objects.using(alias)
    for _ in range(3):
        one = people.select_related("team").get(pk=3)
        show("get", (one.name, one.score, one.born, one.tags, one.data, one.team.name))
        show("filtered", list(people.filter(data__n__lt=4, tags__contains=["t2"]).values_list("id", "born")))
        show("prefetched", [(team.name, len(team.persons.all())) for team in
                            Team.objects.using(alias).prefetch_related("persons").order_by("id")])
        show("grouped", list(people.values("team__name").annotate(
            count=models.Count("id"), best=models.Max("score"), ids=ArrayAgg("id", ordering="-id"))
            .order_by("team__name").values_list("team__name", "count", "best")))
        show("exists", (people.filter(pk=99).exists(), people.count(), people.aggregate(models.Sum("score"))))
        show("page", [person.id for person in people.order_by("-born")[5:8]])
    show("iterated", [person.id for person in people.order_by("id").iterator(chunk_size=7)][::9])
    with transaction.atomic(using=alias):
        down, up = (people.order_by(order).values_list("id", flat=True).iterator(chunk_size=2)
                    for order in ("-id", "id"))
        show("two cursors", [next(one) for one in (down, up, down, down, up, up, down)])
        down.close()
        up.close()
    show("by year", [day.isoformat() for day in people.dates("born", "year")])
    show("raw", [one.id for one in people.raw("SELECT * FROM person WHERE id < %s ORDER BY id", [4])])


def writes():
    done = []
    with transaction.atomic():
        Scratch.objects.create(id=1, note="one")
        transaction.on_commit(lambda: done.append(Scratch.objects.using("other").count()))
        failing("inner", lambda: inner_block())
        show("outer", list(Scratch.objects.values_list()))
    show("after the commit", done)
    try:
        with transaction.atomic():
            Scratch.objects.all().delete()
            raise KeyError("changed my mind")
    except KeyError:
        show("rolled back", Scratch.objects.using("other").count())
    Scratch.objects.bulk_create([Scratch(id=n, note=f"n{n}") for n in range(2, 30)], batch_size=10)
    show("bulk", (Scratch.objects.count(), Scratch.objects.filter(pk__gt=20).update(note="late")))
    many = list(Scratch.objects.filter(pk__lt=5).order_by("id"))
    for one in many:
        one.note += "!"
    Scratch.objects.bulk_update(many, ["note"])
    show("updated", list(Scratch.objects.using("other").filter(pk__lt=6).order_by("id").values_list("note", flat=True)))
    show("ignored", [one.id for one in Scratch.objects.bulk_create(
        [Scratch(id=5), Scratch(id=50)], ignore_conflicts=True)])
    show("or created", [Scratch.objects.get_or_create(id=60, defaults={"note": note})[1] for note in "ab"])
    show("changed", Scratch.objects.update_or_create(id=60, defaults={"note": "c"})[1])
    Scratch.objects.filter(pk=60).update(note=models.functions.Concat("note", models.Value("d")))
    show("expression", Scratch.objects.get(pk=60).note)


def inner_block():
    with transaction.atomic():
        Scratch.objects.create(id=2, note="inner")
        Scratch.objects.create(id=1, note="twice")


def locks():
    with transaction.atomic():
        locked = Scratch.objects.select_for_update(of=("self",)).get(pk=1)
        locked.note = "locked"
        locked.save()
        savepoint = transaction.savepoint()
        Scratch.objects.filter(pk=1).update(note="undone")
        transaction.savepoint_rollback(savepoint)
    show("locked", Scratch.objects.using("other").get(pk=1).note)
    with transaction.atomic():
        show("skipping", list(Scratch.objects.select_for_update(skip_locked=True).filter(pk__lt=4)
                              .order_by("pk").values_list("pk", flat=True)))
    failing("elsewhere", lambda: Scratch.objects.using("other").create(id=1))
    failing("aborted", aborted)


def aborted():
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")


def users():
    """Models with foreign keys that are checked at the commit, and many-to-many tables."""
    one = User.objects.create(username="ada", email="ada@example.com", last_login=datetime.datetime(
        2020, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc))
    group = Group.objects.create(name="analysts")
    group.permissions.set(Permission.objects.filter(codename__endswith="user"))
    one.groups.add(group)
    show("permitted", sorted(User.objects.get(username="ada").get_all_permissions()))
    show("login", User.objects.get(username="ada").last_login.isoformat())

    def deferred():
        with transaction.atomic():
            one.groups.through.objects.create(user_id=one.id, group_id=group.id + 1000)
            show("deferred", one.groups.through.objects.count())

    failing("at the commit", deferred)
    failing("too long", lambda: User.objects.create(username="x" * 200))
    show("deleted", User.objects.all().delete()[0] + Group.objects.all().delete()[0])


def connections_kept():
    for alias in ("default", "other"):
        for _ in range(2):
            show(alias, Person.objects.using(alias).get(pk=7).name)
            connections[alias].close_if_unusable_or_obsolete()
            show("kept", connections[alias].connection is not None)
    with transaction.atomic(using="other"), connections["other"].cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        show("isolation", cursor.fetchone())
        cursor.execute("SHOW TimeZone")
        show("time zone", cursor.fetchone())

    async def asked():
        from asgiref.sync import sync_to_async
        return await asyncio.gather(*[
            sync_to_async(Person.objects.get)(pk=number) for number in (1, 2, 3)])

    show("asynchronous", [one.name for one in asyncio.run(asked())])


def unmigrate():
    for app in ("auth", "contenttypes"):
        call_command("migrate", app, "zero", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE django_migrations")
        cursor.execute("TRUNCATE scratch")
    show("gone", [name for name in connection.introspection.table_names() if name.startswith(("auth_", "django_"))])
    show("emptied", Scratch.objects.using("other").count())


def main():
    migrate()
    reads("default")
    reads("plain")
    writes()
    locks()
    users()
    connections_kept()
    unmigrate()
    connections.close_all()


main()
