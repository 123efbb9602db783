import django.db.models.deletion
import tasks.private
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='FeedEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField(unique=True)),
                ('headline', models.CharField(max_length=200)),
                ('synced_in', models.CharField(db_index=True, max_length=200, verbose_name='task')),
                ('synced_at', models.DateTimeField()),
            ],
            options={
                'verbose_name_plural': 'feed entries',
                'ordering': ('number',),
            },
        ),
        migrations.CreateModel(
            name='Export',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at_least', models.PositiveIntegerField(default=0)),
                ('placed_from', models.DateField(blank=True, null=True)),
                ('placed_until', models.DateField(blank=True, null=True)),
                ('compressed', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField(auto_now_add=True, db_index=True)),
                ('execution', models.UUIDField(editable=False, null=True)),
                ('file', models.FileField(blank=True, editable=False, storage=tasks.private.PrivateStorage(), upload_to='')),
                ('size', models.PositiveBigIntegerField(default=0, editable=False, verbose_name='bytes')),
                ('rows', models.PositiveIntegerField(default=0, editable=False)),
                ('finished_at', models.DateTimeField(editable=False, null=True)),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='exports', to=settings.AUTH_USER_MODEL)),
                ('start', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='export', to='tasks.start')),
            ],
            options={
                'ordering': ('-created_at', '-pk'),
            },
        ),
        migrations.CreateModel(
            name='Rollout',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('packages', models.JSONField(default=list)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('stopped_at', models.DateTimeField(help_text='What was not done by then is not done any more.', null=True)),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rollouts', to=settings.AUTH_USER_MODEL)),
                ('start', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='rollout', to='tasks.start')),
            ],
        ),
        migrations.CreateModel(
            name='Order',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField(help_text='Counted from 1 for each owner.')),
                ('placed_on', models.DateField()),
                ('customer', models.CharField(max_length=200)),
                ('article', models.CharField(max_length=200)),
                ('amount', models.DecimalField(decimal_places=2, max_digits=10)),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='orders', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('owner', 'number'),
                'indexes': [models.Index(fields=['owner', 'placed_on'], name='orders_of_a_time')],
                'constraints': [models.UniqueConstraint(fields=('owner', 'number'), name='one_order_per_number')],
            },
        ),
        migrations.CreateModel(
            name='Installation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('host', models.CharField(max_length=253)),
                ('task_id', models.UUIDField(default=uuid.uuid4, unique=True)),
                ('sent_at', models.DateTimeField(null=True)),
                ('installed', models.JSONField(default=list, help_text='Packages that are done; a later attempt goes on behind them.')),
                ('rollout', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='installations', to='tasks.rollout')),
            ],
            options={
                'ordering': ('pk',),
                'constraints': [models.UniqueConstraint(fields=('rollout', 'host'), name='one_installation_per_host')],
            },
        ),
    ]
